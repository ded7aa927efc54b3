//! Single keys of a terminal.

use std::io::{self, IsTerminal as _, stdin, stdout};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use tokio::task::JoinHandle;

/// Reads keys while it is there, without waiting for the end of a line. Interrupts stay what they are.
pub(super) struct Keys {
    /// How the terminal was.
    before: Termios,
    /// The key that is being read. None is read while nobody asks: an editor may read the terminal then.
    reading: Option<JoinHandle<io::Result<Option<u8>>>>,
}

impl Keys {
    /// None: there is no terminal, or it cannot be changed.
    pub(super) fn new() -> Option<Self> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let keys = Keys {
            before,
            reading: None,
        };
        keys.take_over().ok()?;
        Some(keys)
    }

    /// Takes each key as it comes, and shows none.
    pub(super) fn take_over(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        Ok(tcsetattr(stdin(), OptionalActions::Now, &raw)?)
    }

    /// Leaves the terminal as it was.
    pub(super) fn give_back(&self) {
        // Nothing can be done about it.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }

    /// The next key; none once the terminal is gone. Loses nothing when dropped.
    pub(super) async fn next(&mut self) -> Option<u8> {
        let reading = self
            .reading
            .get_or_insert_with(|| tokio::task::spawn_blocking(read_key));
        let key = reading.await;
        self.reading = None;
        key.ok().and_then(Result::ok).flatten()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// Reads one byte, and no further ones into a buffer.
fn read_key() -> io::Result<Option<u8>> {
    let mut key = [0];
    loop {
        match rustix::io::read(stdin(), &mut key) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(key[0])),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
