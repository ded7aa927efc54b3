//! Work of the engine that waits for the host: each task is a future that settles a promise of the script.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use rquickjs::{Ctx, Function, IntoJs, Persistent, Promise, Result as JsResult, Value};
use wasip2::io::poll::{Pollable, poll};

use crate::host_calls::coded;

type Resolver = Persistent<Function<'static>>;

/// Why a task failed: a kind, and words.
#[derive(Clone)]
pub(super) struct Problem {
    code: String,
    message: String,
}

impl Problem {
    pub(super) fn new(code: &str, message: impl Into<String>) -> Self {
        Problem {
            code: code.into(),
            message: message.into(),
        }
    }
}

impl<'js> IntoJs<'js> for Problem {
    fn into_js(self, ctx: &Ctx<'js>) -> JsResult<Value<'js>> {
        Ok(coded(ctx, &self.code, &self.message)?
            .into_object()
            .into_value())
    }
}

/// Settles the promise.
type Settle = Box<dyn for<'js> FnOnce(&Ctx<'js>) -> rquickjs::Result<()>>;

#[derive(Default)]
pub(super) struct Tasks {
    last_id: Cell<u32>,
    running: RefCell<Vec<Task>>,
}

/// The handle that is waited for is dropped before what it belongs to: the host insists on it.
struct Task {
    waits_for: Option<Rc<Pollable>>,
    work: Pin<Box<dyn Future<Output = Settle>>>,
    resolve: Resolver,
    reject: Resolver,
    id: u32,
}

thread_local! {
    /// What the future that is polled waits for.
    static WAITS_FOR: RefCell<Option<Rc<Pollable>>> = const { RefCell::new(None) };
}

/// Waits until the host says that something is ready. A future waits for one thing at a time.
pub(super) async fn ready(pollable: &Rc<Pollable>) {
    if pollable.ready() {
        return;
    }
    let mut asked = false;
    std::future::poll_fn(|_| {
        // Polled again once the host said so.
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(());
        }
        WAITS_FOR.set(Some(Rc::clone(pollable)));
        Poll::Pending
    })
    .await;
}

impl Tasks {
    /// Starts a task, and returns its promise and its id.
    pub(super) fn start<'js, T>(
        &self,
        ctx: &Ctx<'js>,
        work: impl Future<Output = Result<T, Problem>> + 'static,
    ) -> rquickjs::Result<(Promise<'js>, u32)>
    where
        T: for<'a> IntoJs<'a> + 'static,
    {
        let (promise, resolve, reject) = ctx.promise()?;
        let resolve = Persistent::save(ctx, resolve);
        let reject = Persistent::save(ctx, reject);
        let own = (resolve.clone(), reject.clone());
        let work = async move {
            let result = work.await;
            let settle: Settle = Box::new(move |ctx| match result {
                Ok(value) => own.0.restore(ctx)?.call((value,)),
                Err(problem) => own.1.restore(ctx)?.call((problem,)),
            });
            settle
        };
        let id = self.last_id.get().wrapping_add(1);
        self.last_id.set(id);
        self.running.borrow_mut().push(Task {
            waits_for: None,
            work: Box::pin(work),
            resolve,
            reject,
            id,
        });
        Ok((promise, id))
    }

    /// Lets tasks go on that wait for nothing any more, and settles their promises; false where none could.
    pub(super) fn run(&self, ctx: &Ctx<'_>) -> rquickjs::Result<bool> {
        let mut settles = Vec::new();
        let mut went_on = false;
        self.running.borrow_mut().retain_mut(|task| {
            if task.waits_for.is_some() {
                return true;
            }
            went_on = true;
            match task
                .work
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                Poll::Ready(settle) => {
                    settles.push(settle);
                    false
                }
                Poll::Pending => {
                    task.waits_for = WAITS_FOR.take();
                    true
                }
            }
        });
        for settle in settles {
            settle(ctx)?;
        }
        Ok(went_on)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.borrow().is_empty()
    }

    /// Waits for all of them, and for the alarm, until one is ready.
    pub(super) fn wait(&self, alarm: Option<&Pollable>) {
        let mut running = self.running.borrow_mut();
        let waiting: Vec<Rc<Pollable>> = running
            .iter()
            .filter_map(|task| task.waits_for.clone())
            .collect();
        let all: Vec<&Pollable> = waiting.iter().map(Rc::as_ref).chain(alarm).collect();
        let ready = poll(&all);
        let waiting = running.iter_mut().filter(|task| task.waits_for.is_some());
        for (index, task) in (0..).zip(waiting) {
            if ready.contains(&index) {
                task.waits_for = None;
            }
        }
    }

    /// Gives a task up and rejects its promise. Nothing happens where it has ended.
    pub(super) fn cancel(&self, ctx: &Ctx<'_>, id: u32, problem: Problem) -> rquickjs::Result<()> {
        match self.take(|task| task.id == id).pop() {
            Some(task) => task.reject.restore(ctx)?.call((problem,)),
            None => Ok(()),
        }
    }

    /// Gives up the tasks that wait for this, and resolves their promises with nothing.
    pub(super) fn end_waiting(
        &self,
        ctx: &Ctx<'_>,
        pollable: &Rc<Pollable>,
    ) -> rquickjs::Result<()> {
        let ended = self.take(|task| {
            let waits_for = task.waits_for.as_ref();
            waits_for.is_some_and(|own| Rc::ptr_eq(own, pollable))
        });
        for task in ended {
            let resolve = task.resolve.clone().restore(ctx)?;
            drop(task);
            resolve.call::<_, ()>(())?;
        }
        Ok(())
    }

    fn take(&self, is_meant: impl Fn(&Task) -> bool) -> Vec<Task> {
        let mut running = self.running.borrow_mut();
        running.extract_if(.., |task| is_meant(task)).collect()
    }

    pub(super) fn clear(&self) {
        self.running.take();
    }
}
