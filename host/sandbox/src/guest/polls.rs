//! `wasi:io/poll` and the timers of `wasi:clocks`, as wasmtime serves them, but for attempts on a tape: what a poll finds
//! ready is part of what the guest learns, and when it runs again nobody waits for a timer.

use std::sync::Arc;

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::clocks::WasiClocksView as _;
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock::Host as _;
use wasmtime_wasi::p2::bindings::io::poll::{Host as _, HostPollable as _};

use super::AttemptState;
use crate::recording::{Replay, Tape};

/// The versions that wasmtime-wasi 48 serves; guests of older ones are linked to them, too.
const POLL: &str = "wasi:io/poll@0.2.12";
const CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";

type Store<'a> = StoreContextMut<'a, AttemptState>;
type Pollables = Vec<Resource<DynPollable>>;

/// Takes the place of wasmtime's functions, which are in the linker already.
pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut polls = linker.instance(POLL)?;
    polls.func_wrap_async("poll", |mut store: Store<'_>, (all,): (Pollables,)| {
        Box::new(async move { Ok((store.data_mut().poll(all).await?,)) })
    })?;
    type One = (Resource<DynPollable>,);
    polls.func_wrap_async(
        "[method]pollable.ready",
        |mut store: Store<'_>, (one,): One| {
            Box::new(async move { Ok((store.data_mut().is_ready(one).await?,)) })
        },
    )?;
    polls.func_wrap_async(
        "[method]pollable.block",
        |mut store: Store<'_>, (one,): One| {
            Box::new(async move { store.data_mut().block(one).await })
        },
    )?;
    let mut clock = linker.instance(CLOCK)?;
    clock.func_wrap(
        "subscribe-duration",
        |mut store: Store<'_>, (duration,): (u64,)| Ok((store.data_mut().timer(duration)?,)),
    )?;
    clock.func_wrap(
        "subscribe-instant",
        |mut store: Store<'_>, (when,): (u64,)| {
            let state = store.data_mut();
            let now = state.clocks().now()?;
            Ok((state.timer(when.saturating_sub(now))?,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl AttemptState {
    async fn poll(&mut self, pollables: Pollables) -> wasmtime::Result<Vec<u32>> {
        match self.current.tape.clone() {
            Tape::None => self.table.poll(pollables).await,
            Tape::Record(recorder) => {
                recorder.poll_begins();
                let ready = self.table.poll(pollables).await?;
                recorder.poll_found(&ready);
                Ok(ready)
            }
            Tape::Replay(replay) => match self.found_again(&replay, &pollables).await? {
                Some(ready) => Ok(ready),
                None => self.table.poll(pollables).await,
            },
        }
    }

    async fn is_ready(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<bool> {
        match self.current.tape.clone() {
            Tape::None => self.table.ready(pollable).await,
            Tape::Record(recorder) => {
                let ready = self.table.ready(pollable).await?;
                recorder.poll_found(if ready { &[0] } else { &[] });
                Ok(ready)
            }
            Tape::Replay(replay) => {
                let again = Resource::new_borrow(pollable.rep());
                match self.found_again(&replay, &[pollable]).await? {
                    Some(ready) => Ok(!ready.is_empty()),
                    None => self.table.ready(again).await,
                }
            }
        }
    }

    async fn block(&mut self, pollable: Resource<DynPollable>) -> wasmtime::Result<()> {
        match self.current.tape.clone() {
            Tape::None => self.table.block(pollable).await,
            Tape::Record(recorder) => {
                recorder.poll_begins();
                self.table.block(pollable).await?;
                recorder.poll_found(&[0]);
                Ok(())
            }
            Tape::Replay(replay) => {
                let again = Resource::new_borrow(pollable.rep());
                match self.found_again(&replay, &[pollable]).await? {
                    Some(_) => Ok(()),
                    None => self.table.block(again).await,
                }
            }
        }
    }

    /// What was found ready when the attempt was recorded, once it is ready again: a body is sent by a task of its own.
    async fn found_again(
        &mut self,
        replay: &Arc<Replay>,
        pollables: &[Resource<DynPollable>],
    ) -> wasmtime::Result<Option<Vec<u32>>> {
        let Some(ready) = replay.poll().await else {
            return Ok(None);
        };
        for at in &ready {
            if let Some(pollable) = pollables.get(*at as usize) {
                let pollable = Resource::new_borrow(pollable.rep());
                self.table.block(pollable).await?;
            }
        }
        Ok(Some(ready))
    }

    fn timer(&mut self, duration: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let waits = if self.current.tape.is_replay() {
            0
        } else {
            duration
        };
        self.clocks().subscribe_duration(waits)
    }
}
