//! What a host builds, compiles or waits for, below the lines of its log.
//!
//! The host says it in spans (`toril_sandbox::slow`). A thread of its own shows them: a terminal that takes nothing must not
//! block the thread that talks to Redis.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use toril_sandbox::slow::{self, PATIENCE};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::{FRAMES, TICK, show};
use crate::cli::output::set_status;

/// How long the end of a command waits for a terminal that takes nothing.
const END_TIME_MAX: Duration = Duration::from_millis(500);

/// Takes the status line away when it is dropped, and shows no other one.
pub(crate) struct Progress {
    works: Arc<Works>,
    /// Disconnected once the thread has ended.
    ended: mpsc::Receiver<()>,
}

/// What is going on. The thread that shows it waits for the first one.
#[derive(Default)]
struct Works {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order in which they began.
    works: Vec<Work>,
    is_over: bool,
}

struct Work {
    span: Id,
    what: String,
    begin: Instant,
}

impl Progress {
    /// Begins to show; the layer hears what.
    pub(in crate::cli) fn begin<S: Subscriber>() -> std::io::Result<(Self, impl Layer<S>)> {
        let works = Arc::new(Works::default());
        let (running, ended) = mpsc::channel();
        let shown = Arc::clone(&works);
        std::thread::Builder::new()
            .name("progress".into())
            .spawn(move || {
                let _running: mpsc::Sender<()> = running;
                shown.show_all();
            })?;
        let layer = InView(Arc::clone(&works));
        Ok((Progress { works, ended }, layer))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.works.change(|state| state.is_over = true);
        let _ = self.ended.recv_timeout(END_TIME_MAX);
    }
}

/// What the status line says.
enum Shown {
    Work { what: String, begin: Instant },
    Nothing,
    Over,
}

impl Works {
    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock());
        self.changed.notify_one();
    }

    /// Shows what takes long, until nothing is to be shown any more. Holds no lock while it writes.
    fn show_all(&self) {
        let mut is_shown = false;
        for frame in FRAMES.iter().cycle() {
            let shown = self.state.lock().shown();
            if is_shown && !matches!(shown, Shown::Work { .. }) {
                set_status("");
            }
            is_shown = matches!(shown, Shown::Work { .. });
            match shown {
                Shown::Work { what, begin } => show(*frame, what, begin),
                Shown::Nothing => {}
                Shown::Over => return,
            }
            self.wait(is_shown);
        }
    }

    /// Waits for the next tick, or for a change where none is needed: nothing goes on, and nothing is to be taken away.
    fn wait(&self, is_shown: bool) {
        let mut state = self.state.lock();
        if state.is_over {
            return;
        }
        match state.works.is_empty() && !is_shown {
            true => self.changed.wait(&mut state),
            false => {
                let _ = self.changed.wait_for(&mut state, TICK);
            }
        }
    }
}

impl State {
    /// The work that has gone on for longest, and how many others take long.
    fn shown(&self) -> Shown {
        let mut long = (self.works.iter()).filter(|work| work.begin.elapsed() >= PATIENCE);
        match (self.is_over, long.next(), long.count()) {
            (true, ..) => Shown::Over,
            (false, None, _) => Shown::Nothing,
            (false, Some(Work { what, begin, .. }), others) => Shown::Work {
                what: match others {
                    0 => what.clone(),
                    others => format!("{what}, and {others} more"),
                },
                begin: *begin,
            },
        }
    }
}

/// Hears when work begins and ends.
struct InView(Arc<Works>);

impl<S: Subscriber> Layer<S> for InView {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        if attributes.metadata().target() != slow::TARGET {
            return;
        }
        let mut what = What::default();
        attributes.record(&mut what);
        let work = Work {
            span: id.clone(),
            what: what.0,
            begin: Instant::now(),
        };
        self.0.change(|state| state.works.push(work));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.0
            .change(|state| state.works.retain(|work| work.span != id));
    }
}

/// The one field of such a span.
#[derive(Default)]
struct What(String);

impl Visit for What {
    fn record_debug(&mut self, _: &Field, value: &dyn fmt::Debug) {
        self.0 = format!("{value:?}");
    }
}
