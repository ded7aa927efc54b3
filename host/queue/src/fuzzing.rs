//! The readers of what others write into Redis, for the fuzz targets in `tests/fuzz`. No part of the interface.

use std::sync::Arc;

use crate::job::Job;
use crate::redis::address::Address;
use crate::redis::reader::Reader;
use crate::settle::wire::{read_jobs, read_settled};
use crate::settle::{Settlement, SettlementKind};

/// Reads a reply of the script that settles and takes, as one to a call with three settlements, and one of the script
/// that finds the jobs of a lost call.
pub fn reply(data: &[u8]) {
    let token = Arc::from("token:1");
    let job = Job::lone("", "{}");
    let settlements = [(); 3].map(|()| Settlement::new(&job, SettlementKind::Wait));
    let _ = read_settled(data, &settlements, &token);
    let _ = read_jobs(&mut Reader(data), &token);
}

/// Reads the id and the fields of a job, each ended by a 0 byte, and says what a worker would make of them.
pub fn job_hash(data: &[u8]) -> Job {
    let mut parts = data.split(|byte| *byte == 0);
    let id = parts.next().unwrap_or_default();
    let fields = std::iter::from_fn(|| Some((parts.next()?, parts.next()?)));
    Job::from_hash(id, fields, &Arc::from("token:1"))
}

/// Reads where Redis is. True where it says so.
pub fn address(url: &str) -> bool {
    Address::parse(url).is_ok()
}
