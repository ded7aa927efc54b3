//! The memory that all guests of a host have together, and the places for their instances.
//!
//! A guest has a [`Share`] from before its instance is made until it is gone. Where there is no room it waits, at its
//! start and whenever its memory grows; idle instances give way first. Called by the engine and the limiter of a store.

mod ledger;

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::cancel::Stop;
pub(crate) use ledger::Claim;
use ledger::{Answer, Answered, Ledger};

/// Holds memory that it can give up: the idle instances.
pub(crate) trait GivesWay: Send + Sync {
    /// Gives up some of it. False if there is none.
    fn give_way(&self) -> bool;
}

/// What all guests of an engine share.
pub(crate) struct MemoryBudget {
    ledger: Mutex<Ledger<oneshot::Sender<Answer>>>,
    /// They hold shares, too: the engine empties it when it is dropped.
    idle: Arc<dyn GivesWay>,
}

/// What one guest holds of the budget; given back when it is dropped.
pub(crate) struct Share {
    budget: Arc<MemoryBudget>,
    held: usize,
    stage: Stage,
}

/// What a guest left behind, such as its value: counted until it is dropped.
pub struct Kept {
    budget: Arc<MemoryBudget>,
    bytes: usize,
}

enum Stage {
    New,
    /// Runs, or waits to; under this key.
    Runs(usize),
    Idle,
}

impl MemoryBudget {
    pub(crate) fn new(bytes_max: usize, places: usize, idle: Arc<dyn GivesWay>) -> Arc<Self> {
        Arc::new(MemoryBudget {
            ledger: Mutex::new(Ledger::new(bytes_max, places)),
            idle,
        })
    }

    /// What guests and idle instances hold now, in bytes.
    pub(crate) fn bytes_held(&self) -> usize {
        self.ledger.lock().held()
    }

    /// What they may hold together, in bytes.
    pub(crate) fn bytes_max(&self) -> usize {
        self.ledger.lock().bytes_max()
    }

    /// Counts what a guest leaves, before the guest gives back its own.
    pub(crate) fn keep(self: &Arc<Self>, bytes: usize) -> Kept {
        self.ledger.lock().keep(bytes);
        let budget = Arc::clone(self);
        Kept { budget, bytes }
    }

    fn is_overfull(&self) -> bool {
        self.ledger.lock().is_overfull()
    }

    /// Drops idle instances until there is room for what was handed out.
    pub(crate) fn drop_idle_in_the_way(&self) {
        while self.is_overfull() && self.idle.give_way() {}
    }
}

impl Share {
    pub(crate) fn new(budget: &Arc<MemoryBudget>) -> Self {
        Share {
            budget: Arc::clone(budget),
            held: 0,
            stage: Stage::New,
        }
    }

    /// Waits for a place and so many bytes.
    pub(crate) async fn start(&mut self, claim: Claim, bytes: usize) -> Result<(), Stop> {
        let mut turn = None;
        let made = || waker(&mut turn);
        let (key, answer) = self.budget.ledger.lock().start(claim, bytes, made);
        self.stage = Stage::Runs(key);
        self.wait(answer, bytes, turn).await
    }

    /// Waits until it holds so many bytes in all; at once if it does already.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), Stop> {
        let more = bytes.saturating_sub(self.held);
        let Stage::Runs(key) = self.stage else {
            return Ok(());
        };
        if more == 0 {
            return Ok(());
        }
        let mut turn = None;
        let made = || waker(&mut turn);
        let answer = self.budget.ledger.lock().grow(key, more, made);
        self.wait(answer, more, turn).await
    }

    async fn wait(
        &mut self,
        answer: Answer,
        bytes: usize,
        turn: Option<oneshot::Receiver<Answer>>,
    ) -> Result<(), Stop> {
        let answer = match turn {
            // The ledger keeps the sender for as long as this waits.
            Some(turn) => turn.await.unwrap_or(Answer::Stuck),
            None => answer,
        };
        match answer {
            Answer::Granted => {}
            Answer::TooLarge => return Err(Stop::SharedMemory(self.budget.bytes_max())),
            Answer::Waits | Answer::Stuck => return Err(Stop::MemoryStuck),
        }
        self.held += bytes;
        while self.budget.is_overfull() {
            // If there is none, one is on its way: it is put down, or dropped, in a moment.
            if !self.budget.idle.give_way() {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// Its guest is done, and its instance stays for the next job.
    pub(crate) fn rest(&mut self) {
        if let Stage::Runs(key) = std::mem::replace(&mut self.stage, Stage::Idle) {
            let answered = self.budget.ledger.lock().rest(key);
            wake(answered);
        }
    }

    /// Its idle instance runs again. False if there is no room for it to.
    pub(crate) fn resume(&mut self, claim: Claim) -> bool {
        let Some(key) = self.budget.ledger.lock().resume(claim, self.held) else {
            return false;
        };
        self.stage = Stage::Runs(key);
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        match self.stage {
            Stage::New => {}
            Stage::Runs(key) => {
                let answered = self.budget.ledger.lock().leave(key);
                wake(answered);
            }
            Stage::Idle => self.budget.ledger.lock().forget_idle(self.held),
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let answered = self.budget.ledger.lock().drop_kept(self.bytes);
        wake(answered);
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Kept").field(&self.bytes).finish()
    }
}

/// Made only for a guest that waits: most never do.
fn waker(turn: &mut Option<oneshot::Receiver<Answer>>) -> oneshot::Sender<Answer> {
    let (sender, receiver) = oneshot::channel();
    *turn = Some(receiver);
    sender
}

fn wake(answered: Answered<oneshot::Sender<Answer>>) {
    for (waiting, answer) in answered {
        // A guest that does not wait any more gives back what it got.
        let _ = waiting.send(answer);
    }
}
