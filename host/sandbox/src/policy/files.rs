//! What may be opened in a directory that was granted.

use wasmtime_wasi::p2::bindings::filesystem::types::DescriptorType;

/// True for regular files and directories. Opening a pipe, a device or a socket can block for ever, and what
/// stands behind it is not what the operator granted. Links are followed before this is asked.
pub(crate) fn may_be_opened(kind: DescriptorType) -> bool {
    matches!(
        kind,
        DescriptorType::RegularFile | DescriptorType::Directory | DescriptorType::SymbolicLink
    )
}
