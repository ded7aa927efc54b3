//! Commands of our own, which leave nothing of a session's users.

use postgres_protocol::message::frontend;
use tokio::time::{Instant, timeout_at};

use super::reply::Reply;
use super::{Bounds, Session, Status, nul};
use crate::error::Error;
use crate::statement::Kind;

impl Session {
    /// A statement that may see what is in the session comes to one in which nothing of others is. Within a transaction
    /// `write` sees to it.
    pub(super) async fn unwear(&mut self, kind: Kind, until: Instant) -> Result<(), Error> {
        let may_see = matches!(kind, Kind::Touching | Kind::Lasting);
        if may_see && self.worn && !self.touched && self.status == Status::Idle {
            self.discard(until).await?;
        }
        Ok(())
    }

    /// Carries out commands of our own, each a transaction by itself.
    pub(super) async fn simple(&mut self, commands: &[&str], until: Instant) -> Result<(), Error> {
        let out = &mut self.framed.out;
        out.clear();
        for command in commands {
            frontend::query(command, out).map_err(|_| nul())?;
        }
        let began = Instant::now();
        let mut first_error = None;
        self.busy = true;
        for (number, _) in commands.iter().enumerate() {
            let bounds = Bounds {
                rows_max: 0,
                bytes_max: 0,
                until,
            };
            let mut reply = Reply::new(usize::MAX, &bounds);
            if number == 0 {
                self.exchange(&mut reply, began, until).await?;
            } else {
                self.busy = true;
                let received = timeout_at(until, self.receive(&mut reply)).await;
                received
                    .map_err(|_| Error::TimedOut(until.duration_since(began).as_millis()))??;
            }
            first_error = first_error.or(reply.error);
        }
        match first_error {
            Some(error) => Err(Error::Server(error)),
            None => Ok(()),
        }
    }

    /// Leaves nothing of its user: the transaction is rolled back, and all else removed, if there may be anything.
    pub(crate) async fn reset(&mut self, until: Instant) -> Result<(), Error> {
        if !self.touched {
            return self.roll_back(until).await;
        }
        self.discard(until).await
    }

    async fn discard(&mut self, until: Instant) -> Result<(), Error> {
        self.statements.clear();
        // `DISCARD ALL` leaves the seed, and so what `random()` says next.
        let seed = format!("SELECT pg_catalog.setseed({})", random_seed()?);
        let commands = ["ROLLBACK", "DISCARD ALL", &seed];
        self.simple(&commands, until).await?;
        (self.touched, self.worn) = (false, false);
        Ok(())
    }
}

/// Between 0 and 1.
fn random_seed() -> Result<f64, Error> {
    let mut bytes = [0; 4];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| Error::Unavailable("the host has no random numbers".into()))?;
    Ok(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
}
