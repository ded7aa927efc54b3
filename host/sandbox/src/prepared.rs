//! A compiled component of either world, its imports resolved, and its instances.

use wasmtime::Store;
use wasmtime::component::{InstancePre, Resource};

use crate::bindings::plain::{PlainProcessor, PlainProcessorPre};
use crate::bindings::toril::processor::jobs::Failure;
use crate::bindings::{JobHandle, Processor, ProcessorPre};
use crate::guest::AttemptState;
use crate::world::World;

/// A component that is ready to be instantiated.
pub(crate) enum Prepared {
    Processor(ProcessorPre<AttemptState>),
    Plain(PlainProcessorPre<AttemptState>),
}

/// An instance of a processor.
pub enum Instance {
    /// It is handed its job.
    Processor(Processor),
    /// It asks for its job.
    Plain(PlainProcessor),
}

impl Prepared {
    /// Compares the component's exports with those of the world.
    pub(crate) fn new(world: World, pre: InstancePre<AttemptState>) -> wasmtime::Result<Self> {
        Ok(match world {
            World::Processor => Prepared::Processor(ProcessorPre::new(pre)?),
            World::PlainProcessor => Prepared::Plain(PlainProcessorPre::new(pre)?),
        })
    }

    pub(crate) async fn instantiate(
        &self,
        store: &mut Store<AttemptState>,
    ) -> wasmtime::Result<Instance> {
        Ok(match self {
            Prepared::Processor(pre) => Instance::Processor(pre.instantiate_async(store).await?),
            Prepared::Plain(pre) => Instance::Plain(pre.instantiate_async(store).await?),
        })
    }
}

impl Instance {
    /// Runs the job of the store.
    pub(crate) async fn process(
        &self,
        store: &mut Store<AttemptState>,
    ) -> wasmtime::Result<Result<String, Failure>> {
        match self {
            Instance::Processor(instance) => {
                let job = Resource::<JobHandle>::new_borrow(0);
                instance.call_process(store, job).await
            }
            Instance::Plain(instance) => instance.call_process(store).await,
        }
    }
}
