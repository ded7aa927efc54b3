(()=>{function n(r,e){if(e<r.layers)throw new RangeError("no paint left");return e-r.layers}var t=[{name:"north",layers:2},{name:"south",layers:3}];async function o(r){return t.reduce((e,a)=>n(a,e),r)}var s=globalThis.__toril;s.process=async()=>{let r=await o(4).catch(e=>e);return r instanceof Error?{failure:{kind:"failed",message:r.message,stack:`${r}
${r.stack}`}}:{ok:`${r}`}};})();
//# sourceMappingURL=processor.js.map
