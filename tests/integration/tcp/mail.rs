//! A mail server.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A mail server that keeps what it takes. It takes nothing before the connection is TLS.
pub(super) struct MailServer {
    pub(super) port: u16,
    pub(super) mails: Arc<Mutex<Vec<String>>>,
}

impl MailServer {
    pub(super) async fn start(acceptor: TlsAcceptor) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mails = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&mails);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, kept) = (acceptor.clone(), Arc::clone(&kept));
                tokio::spawn(async move {
                    let mut plain = BufReader::new(stream);
                    plain.write_all(b"220 mail.test\r\n").await.ok()?;
                    if !take_mail(&mut plain, true, &kept).await? {
                        return None;
                    }
                    let stream = acceptor.accept(plain.into_inner()).await.ok()?;
                    take_mail(&mut BufReader::new(stream), false, &kept).await
                });
            }
        });
        MailServer { port, mails }
    }
}

/// True where TLS is to begin.
async fn take_mail(
    stream: &mut (impl AsyncBufRead + AsyncWrite + Unpin),
    is_plain: bool,
    kept: &Mutex<Vec<String>>,
) -> Option<bool> {
    let mut envelope = String::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let answer = match line.split([' ', '\r']).next()? {
            "EHLO" => "250-mail.test\r\n250 STARTTLS\r\n",
            "STARTTLS" if is_plain => "220 go on\r\n",
            "MAIL" | "RCPT" | "DATA" if is_plain => "530 TLS comes first\r\n",
            "MAIL" | "RCPT" => {
                envelope.push_str(&line);
                "250 ok\r\n"
            }
            "DATA" => "354 go on\r\n",
            "QUIT" => "221 bye\r\n",
            _ => "500 what\r\n",
        };
        stream.write_all(answer.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        match line.trim_end() {
            "STARTTLS" if is_plain => return Some(true),
            "QUIT" => return Some(false),
            "DATA" if !is_plain => {
                let mut mail = std::mem::take(&mut envelope);
                while !mail.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut mail).await.ok()? == 0 {
                        return None;
                    }
                }
                kept.lock().unwrap().push(mail);
                stream.write_all(b"250 taken as 1\r\n").await.ok()?;
                stream.flush().await.ok()?;
            }
            _ => {}
        }
    }
}
