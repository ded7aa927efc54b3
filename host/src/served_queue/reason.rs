//! Why something was done, in words of people or of hosts: kept in Redis, and read by every host. Both is bounded here.

/// How long a reason may be, in bytes.
const BYTES_MAX: usize = 4_096;

/// A reason that is short enough to be kept. An empty one is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reason<'a>(&'a str);

impl<'a> Reason<'a> {
    /// What somebody says. One that is too long is refused, so that nobody takes half a sentence for what was said.
    pub(super) fn said(text: &'a str) -> Result<Self, String> {
        if text.len() > BYTES_MAX {
            return Err(format!("reason has more than {BYTES_MAX} bytes"));
        }
        Ok(Reason(text))
    }

    /// What a program found. Its end is left out where it is too long: nobody is there to shorten it.
    pub(super) fn found(text: &'a str) -> Self {
        Reason(&text[..text.floor_char_boundary(BYTES_MAX)])
    }

    pub(super) fn as_str(self) -> &'a str {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_of_people_are_refused_and_those_of_programs_cut() {
        let fits = "x".repeat(BYTES_MAX);
        assert_eq!(Reason::said(&fits).unwrap().as_str(), fits);
        assert!(Reason::said(&format!("{fits}x")).is_err());
        assert_eq!(Reason::found(&fits).as_str(), fits);
        let long = format!("{}ü", &fits[1..]);
        assert_eq!(Reason::found(&long).as_str(), &fits[1..]);
    }
}
