//! How an attempt ends without a value.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::__internal::bindings::toril::processor::jobs as raw;

/// How an attempt ends without a value: BullMQ's special errors, as values.
///
/// `?` makes a [`Failed`](Failure::Failed) of any error, of `anyhow::Error`, and of a text. If a `Failure` is among an error's
/// sources, the attempt ends as that one says:
///
/// ```
/// # use toril_sdk::prelude::*;
/// use anyhow::Context as _;
///
/// fn charge(card: &str) -> anyhow::Result<()> {
///     anyhow::ensure!(card != "expired", Failure::unrecoverable("card expired"));
///     Ok(())
/// }
///
/// fn process(job: Job) -> Result<(), Failure> {
///     let card: String = job.data()?;
///     // An expired card fails the job for good, with this text.
///     charge(&card).with_context(|| format!("failed to charge order {}", job.id()))?;
///     if card.is_empty() {
///         Err("an order needs a card")?;
///     }
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The attempt failed; the job runs again if it has attempts left.
    Failed {
        /// Becomes `failedReason`.
        message: String,
        /// Is appended to `stacktrace`.
        stack: Option<String>,
    },
    /// The job fails now, even if it has attempts left (`UnrecoverableError`).
    Unrecoverable {
        /// Becomes `failedReason`.
        message: String,
        /// Is appended to `stacktrace`.
        stack: Option<String>,
    },
    /// The job was delayed (`DelayedError`), see [`Job::move_to_delayed`](crate::Job::move_to_delayed).
    Delayed,
    /// The job waits for its children (`WaitingChildrenError`), see
    /// [`Job::move_to_waiting_children`](crate::Job::move_to_waiting_children).
    WaitingChildren,
    /// The job waits again, and no attempt is spent (`WaitingError`).
    Waiting,
    /// The queue is limited for this long, the job waits again, and no attempt is spent (`RateLimitError`).
    RateLimited(Duration),
}

impl Failure {
    /// Fails the attempt.
    pub fn new(message: impl Into<String>) -> Self {
        Failure::Failed {
            message: message.into(),
            stack: None,
        }
    }

    /// Fails the job now, even if it has attempts left.
    pub fn unrecoverable(message: impl Into<String>) -> Self {
        Failure::Unrecoverable {
            message: message.into(),
            stack: None,
        }
    }
}

impl Failure {
    /// Makes an error of it, for functions that return another error than `Failure`. As the source of that error it still decides
    /// how the attempt ends. For `anyhow::Error`, `?` is enough.
    pub fn into_error(self) -> FailureError {
        FailureError(Exit::Failure(self))
    }
}

// Errors, boxed errors, `anyhow::Error`, `String` and `&str` all become a boxed error, and nothing else does. A bound by
// `std::error::Error` would leave the last three out, because its crate might implement it for them one day.
impl<E: Into<Box<dyn StdError>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::of(&*error.into())
    }
}

impl From<Failure> for anyhow::Error {
    fn from(failure: Failure) -> Self {
        anyhow::Error::new(failure.into_error())
    }
}

impl Failure {
    /// The way in which the first special error of the chain ends an attempt, with the text of `error`.
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let message = error.to_string();
        let stack = error_chain(error);
        let exit = sources(error).find_map(|source| source.downcast_ref::<Exit>());
        match exit {
            None => Failure::Failed {
                message,
                stack: Some(stack),
            },
            Some(Exit::Child) => Failure::Unrecoverable {
                message,
                stack: Some(stack),
            },
            Some(Exit::Failure(Failure::Failed { stack: inner, .. })) => Failure::Failed {
                message,
                stack: Some(joined(stack, inner.as_deref())),
            },
            Some(Exit::Failure(Failure::Unrecoverable { stack: inner, .. })) => {
                Failure::Unrecoverable {
                    message,
                    stack: Some(joined(stack, inner.as_deref())),
                }
            }
            Some(Exit::Failure(other)) => other.clone(),
        }
    }
}

/// A [`Failure`] as an error, made by [`Failure::into_error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureError(Exit);

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for FailureError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// What decides how an attempt ends. It is a source rather than the error itself: wrappers such as `io::Error`, a
/// transparent error, and `anyhow::Error` in a box hide the error that they hold, but show its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Exit {
    /// A failed child fails the job for good.
    Child,
    Failure(Failure),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exit::Child => "a child failed",
            Exit::Failure(
                Failure::Failed { message, .. } | Failure::Unrecoverable { message, .. },
            ) => message,
            Exit::Failure(Failure::Delayed) => "the job was delayed",
            Exit::Failure(Failure::WaitingChildren) => "the job waits for its children",
            Exit::Failure(Failure::Waiting) => "the job was put back to wait",
            Exit::Failure(Failure::RateLimited(_)) => "the queue is limited",
        })
    }
}

impl StdError for Exit {}

fn sources<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// Writes an error and its sources the way a stack trace reads.
fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut chain = format!("Error: {error}");
    // An exit says what the error above it said.
    let causes = sources(error).skip(1).filter(|cause| !cause.is::<Exit>());
    for cause in causes {
        chain.push_str(&format!("\n    caused by: {cause}"));
    }
    chain
}

fn joined(mut chain: String, stack: Option<&str>) -> String {
    if let Some(stack) = stack {
        chain.push('\n');
        chain.push_str(stack);
    }
    chain
}

impl From<Failure> for raw::Failure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Failed { message, stack } => {
                raw::Failure::Failed(raw::FailureDetail { message, stack })
            }
            Failure::Unrecoverable { message, stack } => {
                raw::Failure::Unrecoverable(raw::FailureDetail { message, stack })
            }
            Failure::Delayed => raw::Failure::Delayed,
            Failure::WaitingChildren => raw::Failure::WaitingChildren,
            Failure::Waiting => raw::Failure::Waiting,
            Failure::RateLimited(wait) => {
                raw::Failure::RateLimited(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::Error;

    #[test]
    fn any_error_becomes_a_failed_attempt() {
        let failure: Failure = "x".parse::<u32>().unwrap_err().into();
        let Failure::Failed { message, stack } = failure else {
            panic!("{failure:?}")
        };
        assert_eq!(message, "invalid digit found in string");
        assert_eq!(
            stack.as_deref(),
            Some("Error: invalid digit found in string")
        );
    }

    fn failed(message: &str, stack: &str) -> Failure {
        Failure::Failed {
            message: message.to_owned(),
            stack: Some(stack.to_owned()),
        }
    }

    #[test]
    fn texts_and_boxes_and_anyhow_become_failed_attempts() {
        let owned = String::from("no paint");
        let text: Result<(), &str> = Err(owned.as_str());
        let by = |leave: &dyn Fn() -> Result<(), Failure>| leave().unwrap_err();
        let expected = failed("no paint", "Error: no paint");
        assert_eq!(by(&|| Ok(text?)), expected);
        assert_eq!(by(&|| Err("no paint".to_owned())?), expected);
        assert_eq!(by(&|| Err(anyhow::anyhow!("no paint"))?), expected);
        assert_eq!(
            by(&|| Err(Box::<dyn StdError>::from("no paint"))?),
            expected
        );

        let parsed = "x".parse::<u32>().context("walls");
        let stack = "Error: walls\n    caused by: invalid digit found in string";
        assert_eq!(Failure::from(parsed.unwrap_err()), failed("walls", stack));
    }

    /// An error that hides the error that it holds.
    #[derive(Debug, thiserror::Error)]
    enum Hiding {
        #[error(transparent)]
        Any(#[from] anyhow::Error),
        #[error("failed to paint")]
        Failure(#[from] FailureError),
    }

    /// Each way in which a failure may be wrapped.
    fn wrapped(failure: &Failure) -> Vec<Failure> {
        let any = || anyhow::Error::from(failure.clone());
        let error = || failure.clone().into_error();
        vec![
            error().into(),
            any().into(),
            any().context("painting").into(),
            any().context("painting").context("house").into(),
            Hiding::Any(any()).into(),
            Hiding::Failure(error()).into(),
            anyhow::Error::new(Hiding::Failure(error())).into(),
            anyhow::Error::new(Hiding::Any(any().context("painting"))).into(),
            std::io::Error::other(error()).into(),
            std::io::Error::other(any()).into(),
            Box::<dyn StdError>::from(error()).into(),
        ]
    }

    #[test]
    fn special_exits_are_found_wherever_they_are_among_the_sources() {
        let limited = Failure::RateLimited(Duration::from_secs(3));
        for exit in [
            Failure::Delayed,
            Failure::WaitingChildren,
            Failure::Waiting,
            limited,
        ] {
            for (n, found) in wrapped(&exit).into_iter().enumerate() {
                assert_eq!(found, exit, "wrapped in way {n}");
            }
        }
        for found in wrapped(&Failure::unrecoverable("card expired")) {
            assert!(matches!(found, Failure::Unrecoverable { .. }), "{found:?}");
        }
        for found in wrapped(&Failure::new("card refused")) {
            assert!(matches!(found, Failure::Failed { .. }), "{found:?}");
        }
    }

    #[test]
    fn unrecoverable_error_keeps_its_contexts_and_its_stack() {
        let inner = Failure::Unrecoverable {
            message: "card expired".to_owned(),
            stack: Some("at charge".to_owned()),
        };
        let failure: Failure = anyhow::Error::from(inner).context("order 7").into();
        let expected = Failure::Unrecoverable {
            message: "order 7".to_owned(),
            stack: Some("Error: order 7\n    caused by: card expired\nat charge".to_owned()),
        };
        assert_eq!(failure, expected);
    }

    #[test]
    fn failed_child_is_unrecoverable() {
        let failed = || Error::ChildFailed("child failed".into());
        let stack = "Error: child failed".to_owned();
        let expected = Failure::Unrecoverable {
            message: "child failed".to_owned(),
            stack: Some(stack),
        };
        assert_eq!(Failure::from(failed()), expected);
        assert_eq!(Failure::from(anyhow::Error::from(failed())), expected);
        let with_context: Failure = anyhow::Error::from(failed()).context("house").into();
        assert!(matches!(with_context, Failure::Unrecoverable { .. }));
    }
}
