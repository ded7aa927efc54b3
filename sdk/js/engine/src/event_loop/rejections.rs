//! Promises that were rejected and that nobody has handled yet.

use std::cell::RefCell;

use rquickjs::{Ctx, Persistent, Promise, Value};

type Kept = Persistent<Value<'static>>;

#[derive(Default)]
pub(super) struct Rejections(RefCell<Vec<Rejection>>);

struct Rejection {
    promise: Kept,
    reason: Kept,
}

impl Rejections {
    /// QuickJS says that a promise was rejected without a handler, or that it got one later.
    pub(super) fn note<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Value<'js>,
        reason: Value<'js>,
        handled: bool,
    ) {
        if !handled {
            let promise = Persistent::save(ctx, promise);
            let reason = Persistent::save(ctx, reason);
            self.0.borrow_mut().push(Rejection { promise, reason });
            return;
        }
        let is_other = |rejection: &mut Rejection| {
            let noted = rejection.promise.clone().restore(ctx);
            !noted.is_ok_and(|noted| noted == promise)
        };
        let handled: Vec<_> = self
            .0
            .borrow_mut()
            .extract_if(.., |one| !is_other(one))
            .collect();
        drop(handled);
    }

    /// The reason of the first one, other than the given promise, which somebody looks at anyway.
    pub(super) fn first_but<'js>(
        &self,
        ctx: &Ctx<'js>,
        promise: Option<&Promise<'js>>,
    ) -> Option<Value<'js>> {
        let rejections = self.0.take();
        let mut reasons = rejections.into_iter().filter_map(|rejection| {
            let rejected = rejection.promise.restore(ctx).ok()?;
            let is_other = promise.is_none_or(|promise| *promise.as_value() != rejected);
            is_other.then(|| rejection.reason.restore(ctx).ok())?
        });
        reasons.next()
    }

    pub(super) fn clear(&self) {
        self.0.take();
    }
}
