//! The files that guests have open: each attempt has its limit, and all guests together leave the host enough for its own
//! connections.

use std::fs::File;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Beyond so many, an attempt leaves a quarter of what there is to those that have fewer.
const FEW: usize = 8;

/// Where the system sets no limit.
const LIMIT_MAX: u64 = 1 << 20;

/// Lets this process open as many files as the system allows it to.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(LIMIT_MAX).min(LIMIT_MAX);
    if limit.current.is_some_and(|soft| soft < hard) {
        let raised = Rlimit {
            current: Some(hard),
            maximum: limit.maximum,
        };
        // It goes on with fewer: guests get half of what there is.
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// Files and sockets that all guests of this process may have open at once.
fn all() -> &'static Arc<Budget> {
    static ALL: OnceLock<Arc<Budget>> = OnceLock::new();
    ALL.get_or_init(|| {
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(LIMIT_MAX);
        Budget::new(usize::try_from(limit / 2).unwrap_or(usize::MAX))
    })
}

#[derive(Debug)]
struct Budget {
    max: usize,
    taken: AtomicUsize,
}

impl Budget {
    fn new(max: usize) -> Arc<Self> {
        Arc::new(Budget {
            max,
            taken: AtomicUsize::new(0),
        })
    }

    /// One more, for an attempt that has so many.
    fn take(self: &Arc<Self>, has: usize) -> Option<Ticket> {
        let kept = if has < FEW { 0 } else { self.max / 4 };
        let take = |taken: usize| (taken + kept < self.max).then_some(taken + 1);
        let taken = &self.taken;
        let took = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        took.ok().map(|_| Ticket(Arc::clone(self)))
    }
}

/// One open file or socket of a guest.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Budget>);

impl Ticket {
    /// For a file that is not counted against the limit of an attempt.
    pub(crate) fn take() -> Option<Self> {
        all().take(0)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why no file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TooMany {
    /// The attempt has as many as it may.
    OfTheAttempt(usize),
    /// All guests together have.
    OfAll,
}

impl TooMany {
    pub(crate) fn text(self) -> String {
        match self {
            TooMany::OfTheAttempt(max) => format!(
                "nothing was opened: the attempt has {max} open files, which is its limit (`limits.open_files_max`)"
            ),
            TooMany::OfAll => {
                "nothing was opened: the guests of this host have as many files open as all of them may: half of what the system allows the host (`ulimit -n`)"
                    .to_owned()
            }
        }
    }
}

/// The files of one attempt.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    budget: Arc<Budget>,
    /// Whatever reads or writes a file keeps it open, so that nothing here may.
    files: Vec<Weak<File>>,
    /// As many as files were open at once.
    tickets: Vec<Ticket>,
}

impl Default for OpenFiles {
    fn default() -> Self {
        OpenFiles {
            budget: Arc::clone(all()),
            files: Vec::new(),
            tickets: Vec::new(),
        }
    }
}

impl OpenFiles {
    /// Makes room for one more.
    pub(crate) fn make_room(&mut self, max: usize) -> Result<(), TooMany> {
        self.forget_closed();
        let open = self.files.len();
        if open >= max {
            return Err(TooMany::OfTheAttempt(max));
        }
        if open >= self.tickets.len() {
            let ticket = self.budget.take(open).ok_or(TooMany::OfAll)?;
            self.tickets.push(ticket);
        }
        Ok(())
    }

    /// Notes a file that was opened.
    pub(crate) fn note(&mut self, file: &Arc<File>) {
        self.files.push(Arc::downgrade(file));
    }

    /// Gives back what is not needed any more.
    pub(crate) fn settle(&mut self) {
        self.forget_closed();
        self.tickets.truncate(self.files.len());
    }

    fn forget_closed(&mut self) {
        self.files.retain(|file| file.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(budget: &Arc<Budget>) -> OpenFiles {
        OpenFiles {
            budget: Arc::clone(budget),
            files: Vec::new(),
            tickets: Vec::new(),
        }
    }

    fn open(files: &mut OpenFiles, max: usize) -> Result<Arc<File>, TooMany> {
        files.make_room(max)?;
        let file = Arc::new(File::open("/dev/null").unwrap());
        files.note(&file);
        Ok(file)
    }

    #[test]
    fn attempt_has_no_more_open_than_its_limit_and_what_it_closes_does_not_count() {
        let budget = Budget::new(100);
        let mut files = of(&budget);
        let first = open(&mut files, 2).unwrap();
        let _second = open(&mut files, 2).unwrap();
        let refused = open(&mut files, 2).unwrap_err();
        assert_eq!(refused, TooMany::OfTheAttempt(2));
        drop(first);
        for _ in 0..10 {
            open(&mut files, 2).unwrap();
        }
        assert_eq!(budget.taken.load(Ordering::Relaxed), 2);
        files.settle();
        assert_eq!(budget.taken.load(Ordering::Relaxed), 1);
        drop(files);
        assert_eq!(budget.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn attempts_with_many_leave_some_to_those_with_few() {
        let budget = Budget::new(100);
        let mut greedy = of(&budget);
        let mut held = Vec::new();
        let refused = loop {
            match open(&mut greedy, 1000) {
                Ok(file) => held.push(file),
                Err(refused) => break refused,
            }
        };
        assert_eq!((refused, held.len()), (TooMany::OfAll, 75));
        let mut modest = of(&budget);
        for _ in 0..FEW {
            held.push(open(&mut modest, 1000).unwrap());
        }
        assert_eq!(open(&mut modest, 1000).unwrap_err(), TooMany::OfAll);
        let others: Vec<_> = std::iter::from_fn(|| budget.take(0)).collect();
        assert_eq!(others.len(), 25 - FEW);
    }
}
