;; WASI preview 1, as far as Go's runtime needs it, on the interfaces of WASI 0.2. The adapter that wasmtime has keeps 128 KiB
;; of state in the guest's heap and opens standard streams and directories at the first call: a snapshot could not be taken.
;;
;; There are no files: what opens one gets `function not implemented`. A file descriptor from 1024 on is a pollable, for which
;; Go's poller can wait (`sdk/go/internal/host`).
;;
;; Addresses from 4096 to 12287 are free: Go's linker keeps them for arguments that only browsers pass.
;;   4096  what a function of the host returns
;;   4160  handles of pollables, at most 1000
;;   8192  which of them are ready
(module
  (import "env" "memory" (memory 0))
  (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall_now (param i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic_now (result i64)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-instant" (func $subscribe_instant (param i64) (result i32)))
  (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $subscribe_duration (param i64) (result i32)))
  (import "wasi:random/random@0.2.0" "get-random-u64" (func $random_u64 (result i64)))
  (import "wasi:cli/exit@0.2.0" "exit" (func $exit (param i32)))
  (import "wasi:cli/stdout@0.2.0" "get-stdout" (func $get_stdout (result i32)))
  (import "wasi:cli/stderr@0.2.0" "get-stderr" (func $get_stderr (result i32)))
  (import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
    (func $stream_write (param i32 i32 i32 i32)))
  (import "wasi:io/poll@0.2.0" "poll" (func $poll (param i32 i32 i32)))
  (import "wasi:io/poll@0.2.0" "[resource-drop]pollable" (func $drop_pollable (param i32)))

  (global $stdout (mut i32) (i32.const -1))
  (global $stderr (mut i32) (i32.const -1))
  ;; While it is held the clock shows the last time that it showed.
  (global $held (mut i32) (i32.const 0))
  (global $wall (mut i64) (i64.const 0))
  (global $monotonic (mut i64) (i64.const 1))

  ;; The host's lists of ready pollables come here; nothing else of what it returns needs memory.
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32)
    (if (i32.gt_u (local.get 3) (i32.const 4096)) (then (unreachable)))
    (i32.const 8192))

  ;; Not of preview 1. Nothing may be asked of the host while it asks for memory (`cabi_realloc`), and Go's allocator may look
  ;; at the clock.
  (func (export "toril_hold_clock") (param $held i32)
    (global.set $held (local.get $held)))

  (func (export "args_sizes_get") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  (func (export "args_get") (param i32 i32) (result i32) (i32.const 0))
  ;; The SDK reads the environment itself, in each fresh instance.
  (func (export "environ_sizes_get") (param i32 i32) (result i32)
    (i32.store (local.get 0) (i32.const 0))
    (i32.store (local.get 1) (i32.const 0))
    (i32.const 0))
  (func (export "environ_get") (param i32 i32) (result i32) (i32.const 0))

  (func (export "clock_time_get") (param $id i32) (param $precision i64) (param $time i32) (result i32)
    (if (i32.eqz (global.get $held)) (then
      (if (local.get $id)
        (then (global.set $monotonic (call $monotonic_now)))
        (else
          (call $wall_now (i32.const 4096))
          (global.set $wall (i64.add
            (i64.mul (i64.load (i32.const 4096)) (i64.const 1000000000))
            (i64.load32_u (i32.const 4104))))))))
    (i64.store (local.get $time)
      (select (global.get $monotonic) (global.get $wall) (local.get $id)))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (local $word i64)
    (loop $next
      (if (i32.ge_u (local.get $length) (i32.const 8)) (then
        (i64.store (local.get $at) (call $random_u64))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $length (i32.sub (local.get $length) (i32.const 8)))
        (br $next))))
    (if (local.get $length) (then
      (local.set $word (call $random_u64))
      (loop $byte
        (i64.store8 (local.get $at) (local.get $word))
        (local.set $word (i64.shr_u (local.get $word) (i64.const 8)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $byte (local.tee $length (i32.sub (local.get $length) (i32.const 1)))))))
    (i32.const 0))

  (func $stream_of (param $fd i32) (result i32)
    (if (i32.eq (local.get $fd) (i32.const 1)) (then
      (if (i32.eq (global.get $stdout) (i32.const -1)) (then (global.set $stdout (call $get_stdout))))
      (return (global.get $stdout))))
    (if (i32.eq (global.get $stderr) (i32.const -1)) (then (global.set $stderr (call $get_stderr))))
    (global.get $stderr))

  ;; One call takes 4096 bytes at most. Output that nobody takes is lost.
  (func $write_all (param $stream i32) (param $at i32) (param $length i32)
    (local $part i32)
    (loop $next
      (if (i32.eqz (local.get $length)) (then (return)))
      (local.set $part (select (i32.const 4096) (local.get $length) (i32.gt_u (local.get $length) (i32.const 4096))))
      (call $stream_write (local.get $stream) (local.get $at) (local.get $part) (i32.const 4096))
      (local.set $at (i32.add (local.get $at) (local.get $part)))
      (local.set $length (i32.sub (local.get $length) (local.get $part)))
      (br $next)))

  (func (export "fd_write") (param $fd i32) (param $vectors i32) (param $count i32) (param $written i32) (result i32)
    (local $sum i32)
    (if (i32.gt_u (i32.sub (local.get $fd) (i32.const 1)) (i32.const 1)) (then (return (i32.const 8))))
    (loop $next
      (if (local.get $count) (then
        (call $write_all (call $stream_of (local.get $fd))
          (i32.load (local.get $vectors)) (i32.load offset=4 (local.get $vectors)))
        (local.set $sum (i32.add (local.get $sum) (i32.load offset=4 (local.get $vectors))))
        (local.set $vectors (i32.add (local.get $vectors) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $next))))
    (i32.store (local.get $written) (local.get $sum))
    (i32.const 0))

  ;; Standard input is empty.
  (func (export "fd_read") (param $fd i32) (param i32 i32) (param $read i32) (result i32)
    (i32.store (local.get $read) (i32.const 0))
    (select (i32.const 8) (i32.const 0) (local.get $fd)))

  (func (export "fd_close") (param $fd i32) (result i32)
    (if (i32.ge_u (local.get $fd) (i32.const 1024)) (then
      (call $drop_pollable (i32.sub (local.get $fd) (i32.const 1024)))))
    (i32.const 0))

  ;; Standard streams are character devices that block, pollables sockets that do not.
  (func (export "fd_fdstat_get") (param $fd i32) (param $stat i32) (result i32)
    (local $waits i32)
    (local.set $waits (i32.ge_u (local.get $fd) (i32.const 1024)))
    (if (i32.and (i32.gt_u (local.get $fd) (i32.const 2)) (i32.eqz (local.get $waits))) (then (return (i32.const 8))))
    (memory.fill (local.get $stat) (i32.const 0) (i32.const 24))
    (i32.store8 (local.get $stat) (select (i32.const 6) (i32.const 2) (local.get $waits)))
    (i32.store16 offset=2 (local.get $stat) (select (i32.const 4) (i32.const 0) (local.get $waits)))
    (i64.store offset=8 (local.get $stat) (i64.const -1))
    (i32.const 0))
  (func (export "fd_fdstat_set_flags") (param i32 i32) (result i32) (i32.const 0))

  ;; No directory is open.
  (func (export "fd_prestat_get") (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (param i32 i32 i32) (result i32) (i32.const 8))

  ;; Zero is success: a `result` whose case is 0 is the good one.
  (func (export "proc_exit") (param $code i32)
    (call $exit (i32.ne (local.get $code) (i32.const 0)))
    (unreachable))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; What a subscription waits for. Standard streams are always ready.
  (func $pollable_of (param $subscription i32) (result i32)
    (local $fd i32)
    (if (i32.eqz (i32.load8_u offset=8 (local.get $subscription))) (then
      (return (if (result i32) (i32.load16_u offset=40 (local.get $subscription))
        (then (call $subscribe_instant (i64.load offset=24 (local.get $subscription))))
        (else (call $subscribe_duration (i64.load offset=24 (local.get $subscription))))))))
    (local.set $fd (i32.load offset=16 (local.get $subscription)))
    (if (i32.lt_u (local.get $fd) (i32.const 1024)) (then (return (call $subscribe_duration (i64.const 0)))))
    (i32.sub (local.get $fd) (i32.const 1024)))

  ;; True where `$pollable_of` made a pollable for this call alone.
  (func $is_own (param $subscription i32) (result i32)
    (i32.or (i32.eqz (i32.load8_u offset=8 (local.get $subscription)))
      (i32.lt_u (i32.load offset=16 (local.get $subscription)) (i32.const 1024))))

  (func $write_event (param $subscription i32) (param $event i32)
    (memory.fill (local.get $event) (i32.const 0) (i32.const 32))
    (i64.store (local.get $event) (i64.load (local.get $subscription)))
    (i32.store8 offset=10 (local.get $event) (i32.load8_u offset=8 (local.get $subscription)))
    (i64.store offset=16 (local.get $event) (i64.const 1)))

  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (local $n i32) (local $subscription i32) (local $ready i32)
    (if (i32.gt_u (local.get $count) (i32.const 1000)) (then (return (i32.const 48))))
    ;; Go's scheduler looks in often without waiting.
    (if (i32.and (i32.eq (local.get $count) (i32.const 1))
                 (i64.eqz (i64.or (i64.load8_u offset=8 (local.get $in)) (i64.load offset=24 (local.get $in))))) (then
      (call $write_event (local.get $in) (local.get $out))
      (i32.store (local.get $events) (i32.const 1))
      (return (i32.const 0))))
    (local.set $subscription (local.get $in))
    (loop $next
      (i32.store offset=4160 (i32.shl (local.get $n) (i32.const 2)) (call $pollable_of (local.get $subscription)))
      (local.set $subscription (i32.add (local.get $subscription) (i32.const 48)))
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get $count))))
    (call $poll (i32.const 4160) (local.get $count) (i32.const 4096))
    (local.set $ready (i32.load (i32.const 4100)))
    (i32.store (local.get $events) (local.get $ready))
    (local.set $n (i32.const 0))
    (loop $next
      (if (i32.lt_u (local.get $n) (local.get $ready)) (then
        (call $write_event
          (i32.add (local.get $in) (i32.mul (i32.const 48) (i32.load offset=8192 (i32.shl (local.get $n) (i32.const 2)))))
          (i32.add (local.get $out) (i32.shl (local.get $n) (i32.const 5))))
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br $next))))
    (local.set $n (i32.const 0))
    (local.set $subscription (local.get $in))
    (loop $next
      (if (call $is_own (local.get $subscription)) (then
        (call $drop_pollable (i32.load offset=4160 (i32.shl (local.get $n) (i32.const 2))))))
      (local.set $subscription (i32.add (local.get $subscription) (i32.const 48)))
      (br_if $next (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (local.get $count))))
    (i32.const 0))

  ;; Files and sockets: `function not implemented`.
  (func (export "clock_res_get") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_advise") (param i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_allocate") (param i32 i64 i64) (result i32) (i32.const 52))
  (func (export "fd_datasync") (param i32) (result i32) (i32.const 52))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 52))
  (func (export "fd_filestat_get") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 52))
  (func (export "fd_filestat_set_times") (param i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_pread") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 52))
  (func (export "fd_renumber") (param i32 i32) (result i32) (i32.const 52))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 52))
  (func (export "fd_sync") (param i32) (result i32) (i32.const 52))
  (func (export "fd_tell") (param i32 i32) (result i32) (i32.const 52))
  (func (export "path_create_directory") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_filestat_get") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 52))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 52))
  (func (export "path_readlink") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_remove_directory") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "proc_raise") (param i32) (result i32) (i32.const 52))
  (func (export "sock_accept") (param i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_recv") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_send") (param i32 i32 i32 i32 i32) (result i32) (i32.const 52))
  (func (export "sock_shutdown") (param i32 i32) (result i32) (i32.const 52)))
