use wasmi::Linker;

use super::*;

/// A module as the instrumentation wants it: an initialisation, and what `main` does.
fn module(start: &str) -> Vec<u8> {
    let text = format!(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write" (func $print (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
          (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "poll_oneoff" (func $wait (param i32 i32 i32 i32) (result i32)))
          (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
          (import "toril:processor/producer@1.1.0" "remove" (func $remove))
          (memory (export "memory") 1)
          (global $state (mut i32) (i32.const 1))
          (data (i32.const 0) "\10\00\00\00\05\00\00\00")
          (data (i32.const 16) "words")
          (func (export "_initialize") (global.set $state (i32.const 2)))
          (func $say (drop (call $print (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))))
          (func (export "toril_start") {start})
          (func (export "state") (result i32) (global.get $state)))"#
    );
    wat::parse_str(text).unwrap()
}

fn reason(body: &str) -> String {
    match start(&module(body)) {
        Err(Error::Program(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_main_leaves_is_there_afterwards_and_main_is_not() {
    let core = module(
        "(global.set $state (i32.add (global.get $state) (i32.const 40)))
         (drop (call $time (i32.const 0) (i64.const 0) (i32.const 1024)))",
    );
    let snapshot = start(&core).unwrap();
    assert_eq!(snapshot, start(&core).unwrap(), "it is the same each time");
    let engine = Engine::default();
    let module = Module::new(&engine, &snapshot).unwrap();
    assert!(module.exports().all(|export| export.name() != START));
    let mut store = Store::new(&engine, ());
    let mut linker = Linker::new(&engine);
    for import in module.imports() {
        let ty = import.ty().func().cloned().unwrap();
        let refuse =
            |_: wasmi::Caller<'_, ()>, _: &[Val], _: &mut [Val]| Err(wasmi::Error::new("called"));
        linker
            .func_new(import.module(), import.name(), ty, refuse)
            .unwrap();
    }
    let instance = linker.instantiate_and_start(&mut store, &module).unwrap();
    let state = instance.get_typed_func::<(), i32>(&store, "state").unwrap();
    assert_eq!(state.call(&mut store, ()).unwrap(), 42);
    let memory = instance.get_memory(&store, "memory").unwrap();
    assert_eq!(memory.data(&store)[1024..1032], 1_u64.to_le_bytes());
}

#[test]
fn end_of_the_program_is_said_in_its_own_words() {
    assert_eq!(reason("(call $say) (unreachable)"), "words");
    assert_eq!(reason("(call $say) (call $exit (i32.const 2))"), "words");
    assert_eq!(
        reason("(call $exit (i32.const 3))"),
        "`main` ended the program with code 3"
    );
}

#[test]
fn main_must_not_wait_nor_call_what_belongs_to_a_job() {
    let wait = |nanoseconds: u64| {
        format!(
            "(i64.store (i32.const 2024) (i64.const {nanoseconds}))
             (drop (call $wait (i32.const 2000) (i32.const 3000) (i32.const 1) (i32.const 4000)))"
        )
    };
    assert!(reason(&wait(2_000_000)).contains("must not wait"));
    start(&module(&wait(1_000_000))).unwrap();
    assert!(
        reason("(call $remove)")
            .starts_with("`remove` of `toril:processor/producer@1.1.0` was called while")
    );
}

#[test]
fn random_numbers_are_given_once_to_the_runtime() {
    let once = "(drop (call $random (i32.const 1024) (i32.const 32)))";
    start(&module(once)).unwrap();
    assert!(reason(&format!("{once} {once}")).contains("each job would get the same"));
}

#[test]
fn memory_has_a_limit() {
    let grows = |pages: u32| {
        let grow = format!("(memory.grow (i32.const {pages}))");
        start(&module(&format!(
            "(if (i32.eq {grow} (i32.const -1)) (then (call $say) (unreachable)))"
        )))
    };
    assert!(grows(100).is_ok());
    assert!(matches!(grows(9000), Err(Error::Program(words)) if words == "words"));
}
