//! Follows the deployments in Redis: what one host of a fleet is told, all do.
//!
//! One task per host reports what each queue does and asks for what is deployed, for all queues in one call. It loads
//! nothing: a changed deployment goes to the queue's task.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::debug;

use super::cancel::requests::REQUESTS_MAX;
use super::deployment::{Asked, Deployments, News, Report};
use super::reconcile::Message;
use super::{Context, QueueStatus, ServedQueue, Serving};
use crate::versions::{Canary, Tally, verdict};
use toril_queue::QueueError;

/// How often a host asks for what is deployed. A deployment is noticed within this time.
const INTERVAL: Duration = Duration::from_millis(200);
/// ... while a queue has no jobs: an idle host sleeps. In intervals.
const IDLE_INTERVALS: u32 = 5;
/// How long a queue is asked for often after its last job or change.
const ATTENTIVE: Duration = Duration::from_secs(10);
/// How often a host says which queues it works. The list is of names only: what else is known of them is reported anyway.
const ENLIST_INTERVAL: Duration = Duration::from_secs(60);
/// Queues that one call asks for: at some 10 µs for each, a call holds Redis for a millisecond.
const CALL_MAX: usize = 100;

/// One queue's part of a call.
struct Ask {
    served: Arc<ServedQueue>,
    serving: Arc<Serving>,
    status: QueueStatus,
    canary: Option<Arc<Canary>>,
    last_cancel: Option<String>,
}

/// Reports and follows. Never returns.
pub(crate) async fn follow(context: Arc<Context>) {
    let start = Instant::now();
    let (mut last, mut last_idle) = (None, None);
    let mut enlist_at = start + ENLIST_INTERVAL;
    loop {
        if Instant::now() >= enlist_at {
            enlist_at = Instant::now() + ENLIST_INTERVAL;
            enlist_all(&context).await;
        }
        let beat = start.elapsed().as_millis() / INTERVAL.as_millis();
        let beat = u32::try_from(beat).unwrap_or(u32::MAX);
        let (regular, idle) = (last != Some(beat), last_idle != Some(beat / IDLE_INTERVALS));
        (last, last_idle) = (Some(beat), Some(beat / IDLE_INTERVALS));
        let attentive = ask_all(&context, regular, idle).await;
        let next = match attentive {
            true => beat + 1,
            false => (beat / IDLE_INTERVALS + 1) * IDLE_INTERVALS,
        };
        tokio::select! {
            () = tokio::time::sleep_until((start + INTERVAL * next).into()) => {}
            () = context.report.notified() => {}
        }
    }
}

/// Puts the queues on the list again: they may have been taken off while this host was silent.
async fn enlist_all(context: &Context) {
    let all = context.all();
    let serving = all.iter().filter_map(|served| served.serving());
    let followed = serving.filter(|serving| serving.source.followed);
    let queues: Vec<Deployments> = followed
        .map(|serving| serving.deployments().clone())
        .collect();
    if let Err(error) = Deployments::enlist_all(&queues).await {
        debug!(%error, "queues could not be listed");
    }
}

/// Asks for the queues that are due. True where some are to be asked for often.
async fn ask_all(context: &Context, regular: bool, idle: bool) -> bool {
    let mut attentive = false;
    let mut routes: BTreeMap<String, Vec<Ask>> = BTreeMap::new();
    for served in context.all() {
        let Some(serving) = served.serving() else {
            continue;
        };
        if !serving.source.followed {
            continue;
        }
        serving.cancel_as_asked(served.name());
        let busy = serving.is_attentive();
        attentive |= busy;
        let urgent = serving.urgent.swap(false, Ordering::Relaxed);
        if !(urgent || idle || regular && busy) {
            continue;
        }
        let Some(status) = served.status(&context.identity) else {
            continue;
        };
        let route = serving.deployments().route().to_owned();
        routes.entry(route).or_default().push(Ask {
            canary: serving.versions().canary(),
            last_cancel: serving.last_cancel(),
            served,
            serving,
            status,
        });
    }
    for asks in routes.into_values() {
        for asks in asks.chunks(CALL_MAX) {
            ask(&context.identity.host, asks).await;
        }
    }
    attentive
}

async fn ask(host: &str, asks: &[Ask]) {
    let reports: Vec<Report<'_>> = asks.iter().map(Ask::report).collect();
    match Deployments::sync(host, &reports).await {
        Ok(answers) => {
            for (ask, answer) in asks.iter().zip(answers) {
                if let Some(counts) = ask.note(answer) {
                    ask.judge_canary(counts).await;
                }
            }
        }
        Err(error) => {
            debug!(%error, "deployments could not be asked for");
        }
    }
}

impl Ask {
    fn report(&self) -> Report<'_> {
        Report {
            deployments: self.serving.deployments(),
            status: &self.status,
            known: self.serving.told.load(Ordering::Relaxed),
            canary: self.canary.as_deref(),
            last_cancel: self.last_cancel.as_deref(),
        }
    }

    /// Takes up what is new. Returns the counts of the canary.
    fn note(&self, answer: Result<News, QueueError>) -> Option<Tally> {
        let news = match answer {
            Ok(news) => news,
            Err(error) => {
                debug!(queue = self.served.name().as_str(), %error, "deployment could not be asked for");
                return None;
            }
        };
        self.note_cancels(news.cancels);
        if let Some(deployment) = news.deployment {
            let revision = deployment.revision;
            // Told again at the next call where the task has no room for it now.
            if self.served.send(Message::Deployed(deployment)).is_ok() {
                self.serving.told.store(revision, Ordering::Relaxed);
                *self.serving.last_busy.lock() = Some(Instant::now());
            }
        }
        news.counts
    }

    /// Stops what was asked to stop. At most as many requests at a time as are kept, so that each is looked at once.
    fn note_cancels(&self, cancels: Vec<Asked>) {
        let mut cancels = cancels.into_iter();
        loop {
            for asked in cancels.by_ref().take(REQUESTS_MAX) {
                let mut requests = self.serving.cancel_requests.lock();
                requests.note(asked, Instant::now());
            }
            self.serving.cancel_as_asked(self.served.name());
            if cancels.len() == 0 {
                break;
            }
        }
    }

    /// Aborts the canary where it fails more often than the active version. One host does it for all; each says so when it
    /// takes notice.
    async fn judge_canary(&self, Tally { active, candidate }: Tally) {
        let Some(canary) = &self.canary else {
            return;
        };
        let Some(reason) = verdict(&canary.rule, active, candidate) else {
            return;
        };
        let deployments = self.serving.deployments();
        if let Err(error) = deployments.abort_canary(canary.id, &reason).await {
            // Another host was faster, or the next report says it again.
            debug!(queue = self.served.name().as_str(), %error, "canary was not aborted from here");
        }
    }
}

impl Serving {
    /// From where requests to cancel are new; none while no job runs here.
    fn last_cancel(&self) -> Option<String> {
        let runs = self.worker.view().running() > 0;
        runs.then(|| self.cancel_requests.lock().last().to_owned())
    }

    /// True for a while after a job or a change.
    fn is_attentive(&self) -> bool {
        let mut last_busy = self.last_busy.lock();
        if self.worker.view().running() > 0 || self.versions().canary().is_some() {
            *last_busy = Some(Instant::now());
        }
        last_busy.is_some_and(|last| last.elapsed() < ATTENTIVE)
    }
}
