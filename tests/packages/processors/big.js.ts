import Big from 'big.js';

export default async function () {
  return [new Big(0.1).plus(0.2).toString(), new Big(10).div(3).toFixed(30), new Big('123456789.987654321').times('1e10').toString(), new Big(2).sqrt().toString()];
}
