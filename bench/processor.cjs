// What a sandboxed processor of BullMQ runs.
module.exports = async () => 1;
