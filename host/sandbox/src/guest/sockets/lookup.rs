//! `wasi:sockets/ip-name-lookup`: names that were granted, and of their addresses those that may be connected to.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::vec;

use wasmtime::component::{Linker, Resource, ResourceType};
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddress};
use wasmtime_wasi::p2::{DynPollable, Network, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::{Answer, add};
use crate::guest::AttemptState;

/// The version that wasmtime-wasi 48 serves; guests of older ones are linked to it, too.
const LOOKUP: &str = "wasi:sockets/ip-name-lookup@0.2.12";

pub(super) fn add_to_linker(linker: &mut Linker<AttemptState>) -> wasmtime::Result<()> {
    let mut lookup = linker.instance(LOOKUP)?;
    lookup.resource(
        "resolve-address-stream",
        ResourceType::host::<Lookup>(),
        |mut store, handle| {
            let lookup = Resource::<Lookup>::new_own(handle);
            store.data_mut().table.delete(lookup)?;
            Ok(())
        },
    )?;
    add(&mut lookup, "resolve-addresses", resolve_addresses)?;
    add(
        &mut lookup,
        "[method]resolve-address-stream.resolve-next-address",
        next_address,
    )?;
    add(
        &mut lookup,
        "[method]resolve-address-stream.subscribe",
        |state, (lookup,): (Resource<Lookup>,)| -> wasmtime::Result<Resource<DynPollable>> {
            subscribe(&mut state.table, lookup)
        },
    )
}

/// The look-up of one name.
struct Lookup {
    name: Arc<str>,
    state: LookupState,
}

enum LookupState {
    Running(AbortOnDropJoinHandle<io::Result<Vec<IpAddr>>>),
    /// Nothing of it has been judged yet.
    Answered(io::Result<Vec<IpAddr>>),
    Judged(Result<vec::IntoIter<IpAddr>, ErrorCode>),
}

impl Lookup {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let LookupState::Running(task) = &mut self.state else {
            return Poll::Ready(());
        };
        // Through the handle inside, whose task may have been cancelled by a host that ends.
        let answer = std::task::ready!(std::pin::Pin::new(&mut **task).poll(context));
        let answer = answer.unwrap_or_else(|error| Err(io::Error::other(error)));
        self.state = LookupState::Answered(answer);
        Poll::Ready(())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Lookup {
    async fn ready(&mut self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}

fn resolve_addresses(
    state: &mut AttemptState,
    (network, name): (Resource<Network>, String),
) -> Answer<Resource<Lookup>> {
    state.current.tape.cannot_hold("a connection over TCP");
    state.table.get(&network)?;
    let lookups = state.policy.connections.lookups();
    let Some((grant, open)) = state.open_sockets() else {
        return Ok(Err(state.deny()));
    };
    let name = match open.judge.look_up(grant, &name) {
        Ok(name) => name,
        Err(refusal) => return Ok(Err(state.note_refusal(&refusal))),
    };
    let end = AttemptState::connected_by(grant);
    let task = spawn(lookups.addresses(Arc::clone(&name), end));
    let state_of_it = LookupState::Running(task);
    let lookup = Lookup {
        name,
        state: state_of_it,
    };
    Ok(Ok(state.table.push(lookup)?))
}

fn next_address(
    state: &mut AttemptState,
    (lookup,): (Resource<Lookup>,),
) -> Answer<Option<IpAddress>> {
    let found = state.table.get_mut(&lookup)?;
    let mut context = Context::from_waker(Waker::noop());
    if found.poll(&mut context).is_pending() {
        return Ok(Err(ErrorCode::WouldBlock));
    }
    if let LookupState::Answered(answer) = &mut found.state {
        let answer = std::mem::replace(answer, Ok(Vec::new()));
        let name = Arc::clone(&found.name);
        let judged = judged(state, &name, answer);
        state.table.get_mut(&lookup)?.state = LookupState::Judged(judged);
    }
    match &mut state.table.get_mut(&lookup)?.state {
        LookupState::Judged(Ok(addresses)) => Ok(Ok(addresses.next().map(IpAddress::from))),
        LookupState::Judged(Err(code)) => Ok(Err(*code)),
        LookupState::Running(_) | LookupState::Answered(_) => Ok(Err(ErrorCode::WouldBlock)),
    }
}

fn judged(
    state: &mut AttemptState,
    name: &Arc<str>,
    answer: io::Result<Vec<IpAddr>>,
) -> Result<vec::IntoIter<IpAddr>, ErrorCode> {
    let addresses = answer.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ErrorCode::TemporaryResolverFailure,
        _ => ErrorCode::NameUnresolvable,
    })?;
    let Some((grant, open)) = state.open_sockets() else {
        return Err(ErrorCode::AccessDenied);
    };
    match open.judge.found(grant, name, addresses) {
        Ok(admitted) => Ok(admitted.into_iter()),
        Err(refusal) => Err(state.note_refusal(&refusal)),
    }
}
