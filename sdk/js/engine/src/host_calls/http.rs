//! Requests to other servers.

use std::rc::Rc;

use rquickjs::{Ctx, Object, Result};

use super::Calls;
use crate::event_loop::EventLoop;

pub(super) fn add<'js>(ctx: &Ctx<'js>, toril: &Object<'js>, events: &Rc<EventLoop>) -> Result<()> {
    let events = Rc::clone(events);
    let send = move |ctx: Ctx<'js>, request| events.request(&ctx, request);
    Calls::on(ctx, toril.clone(), "").add("http", send)
}
