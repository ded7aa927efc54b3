import { XMLBuilder, XMLParser, XMLValidator } from 'fast-xml-parser';

export default async function () {
  const xml = '<order id="7"><item sku="a">2</item><item sku="b">3</item><note><![CDATA[<x>]]></note></order>';
  const parsed = new XMLParser({ ignoreAttributes: false }).parse(xml);
  return { parsed, built: new XMLBuilder({ ignoreAttributes: false }).build({ order: { '@_id': '7', item: [1, 2] } }), valid: XMLValidator.validate('<a><b></a>') !== true };
}
