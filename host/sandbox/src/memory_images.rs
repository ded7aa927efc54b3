//! What the memory of new instances is copied from: made once for each component.

use wasmtime::component::Component;

use crate::short_machine::again_while_short;

/// Makes them. The call blocks.
///
/// wasmtime seals each image, and Linux refuses that while something else holds a page of it: when it moves pages together, say.
/// Without a second try a component would be refused for what the machine did at that moment.
pub fn make_memory_images(component: &Component) -> wasmtime::Result<()> {
    again_while_short(|| component.initialize_copy_on_write_image())
}

/// The error with all that caused it. `{:#}` has only the causes that wasmtime added itself.
pub(crate) fn with_causes(error: &wasmtime::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    causes.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot add seals")]
    struct Refused(#[source] std::io::Error);

    #[test]
    fn refusal_is_told_with_what_caused_it() {
        let refused = Refused(rustix::io::Errno::NOMEM.into());
        let reason = with_causes(&refused.into());
        assert!(reason.starts_with("cannot add seals: "), "{reason}");
        assert!(reason.contains("memory"), "{reason}");
    }
}
