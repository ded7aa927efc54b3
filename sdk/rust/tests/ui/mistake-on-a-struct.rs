#[toril_sdk::processor]
struct Processor;

fn main() {}
