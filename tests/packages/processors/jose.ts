import { base64url, jwtVerify, SignJWT } from 'jose';

export default async function () {
  const secret = new TextEncoder().encode('a secret of thirty-two characters');
  const token = await new SignJWT({ user: 7 }).setProtectedHeader({ alg: 'HS256' }).setIssuedAt(1_700_000_000).setIssuer('toril').sign(secret);
  const { payload } = await jwtVerify(token, secret, { issuer: 'toril' });
  const forged = await jwtVerify(`${token.slice(0, -2)}xx`, secret).catch((error) => error.code);
  return { token, payload, forged, encoded: base64url.encode('hi?>') };
}
