//! One connection of a client through the proxy. A fault strikes only its own call: replies to earlier ones arrive
//! first, and nothing that follows a cut reaches Redis.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{Direction, Fault, Link, Shared, Strike, resp};

/// What becomes of the next reply.
type Reply = Option<Strike>;

/// Passes requests and replies until one side leaves or a fault cuts the connection.
pub(super) async fn serve(shared: Arc<Shared>, mut client: TcpStream, faulty: bool) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", shared.redis_port)).await else {
        return;
    };
    for stream in [&client, &server] {
        let _ = stream.set_nodelay(true);
    }
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let (expect, expected) = unbounded_channel();
    // Whichever ends first ends both: an error and an end of file are the same here.
    let _ = tokio::select! {
        ended = pass_requests(&shared, faulty, client_read, server_write, expect) => ended,
        ended = pass_replies(&shared, faulty, server_read, client_write, expected) => ended,
    };
}

async fn pass_requests(
    shared: &Shared,
    faulty: bool,
    client: ReadHalf<'_>,
    mut server: WriteHalf<'_>,
    expect: UnboundedSender<Reply>,
) -> io::Result<()> {
    let mut requests = Frames::new(client, faulty.then_some((&shared.link, Direction::Up)));
    loop {
        let request = requests.next().await?;
        let name = shared.scripts.name(&request);
        let strike = if faulty { shared.strike(&name) } else { None };
        let fault = strike.as_ref().map(|strike| strike.fault.clone());
        if let (Some(Fault::HoldRequest(gate)), Some(strike)) = (&fault, &strike) {
            strike.count();
            gate.opened().await;
        }
        if !matches!(fault, Some(Fault::LoseRequest | Fault::Refuse(_))) {
            server.write_all(&request).await?;
        }
        let _ = expect.send(strike);
        if matches!(
            fault,
            Some(Fault::LoseRequest | Fault::LoseReply | Fault::CutReply)
        ) {
            // The other half cuts the connection when it comes to this call.
            return std::future::pending().await;
        }
    }
}

async fn pass_replies(
    shared: &Shared,
    faulty: bool,
    server: ReadHalf<'_>,
    mut client: WriteHalf<'_>,
    mut expected: UnboundedReceiver<Reply>,
) -> io::Result<()> {
    let mut replies = Frames::new(server, None);
    let link = faulty.then_some(&shared.link);
    while let Some(strike) = expected.recv().await {
        let fault = strike.as_ref().map(|strike| &strike.fault);
        let reply = match fault {
            Some(Fault::LoseRequest) => Vec::new(),
            Some(Fault::Refuse(error)) => format!("-{error}\r\n").into_bytes(),
            _ => loop {
                let frame = replies.next().await?;
                if !resp::is_push(&frame) {
                    break frame;
                }
                send(link, &mut client, &frame).await?;
            },
        };
        match &strike {
            Some(strike) if !matches!(strike.fault, Fault::HoldRequest(_)) => strike.count(),
            _ => {}
        }
        match fault {
            Some(Fault::LoseRequest | Fault::LoseReply) => return Ok(()),
            Some(Fault::CutReply) => {
                return send(link, &mut client, &reply[..reply.len() / 2]).await;
            }
            Some(Fault::HoldReply(gate)) => gate.opened().await,
            _ => {}
        }
        send(link, &mut client, &reply).await?;
    }
    Ok(())
}

async fn send(link: Option<&Link>, client: &mut WriteHalf<'_>, bytes: &[u8]) -> io::Result<()> {
    let Some(link) = link else {
        return client.write_all(bytes).await;
    };
    for part in bytes.chunks(link.turn().min(bytes.len().max(1))) {
        link.pass(Direction::Down, part.len()).await;
        client.write_all(part).await?;
    }
    Ok(())
}

/// Reads whole frames, as fast as the link lets it.
struct Frames<'a> {
    from: ReadHalf<'a>,
    link: Option<(&'a Link, Direction)>,
    bytes: Vec<u8>,
}

impl<'a> Frames<'a> {
    fn new(from: ReadHalf<'a>, link: Option<(&'a Link, Direction)>) -> Self {
        Frames {
            from,
            link,
            bytes: Vec::new(),
        }
    }

    async fn next(&mut self) -> io::Result<Vec<u8>> {
        let mut part = vec![0; 64 * 1024];
        loop {
            if let Some(length) = resp::frame_len(&self.bytes) {
                let rest = self.bytes.split_off(length);
                return Ok(std::mem::replace(&mut self.bytes, rest));
            }
            let room = self
                .link
                .map_or(part.len(), |(link, _)| link.turn().min(part.len()));
            let length = self.from.read(&mut part[..room]).await?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some((link, direction)) = self.link {
                link.pass(direction, length).await;
            }
            self.bytes.extend_from_slice(&part[..length]);
        }
    }
}
