import { PDFDocument, rgb, StandardFonts } from 'pdf-lib';

export default async function () {
  const document = await PDFDocument.create();
  const font = await document.embedFont(StandardFonts.Helvetica);
  document.addPage([300, 200]).drawText('Invoice 7', { x: 20, y: 150, size: 20, font, color: rgb(0, 0.2, 0.8) });
  document.addPage();
  const bytes = await document.save();
  const again = await PDFDocument.load(bytes);
  return { pages: again.getPageCount(), size: again.getPage(0).getSize(), head: String.fromCharCode(...bytes.slice(0, 8)), large: bytes.length > 500 };
}
