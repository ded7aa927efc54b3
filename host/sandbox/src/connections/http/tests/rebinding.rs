//! Names that have several addresses, or other ones from one look-up to the next. The judge is the grant's.

use std::net::{IpAddr, Ipv4Addr};

use parking_lot::Mutex;

use super::*;
use crate::policy::HttpGrant;

const GRANTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
/// Another address of this machine.
const PRIVATE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
const NAME: &str = "rebound.example";

/// What the next look-ups of the name answer; the last one is for ever.
#[derive(Clone, Default)]
struct Answers(Arc<Mutex<Vec<Vec<IpAddr>>>>);

impl Answers {
    fn of(answers: &[&[IpAddr]]) -> Self {
        let answers = answers.iter().rev().map(|answer| answer.to_vec());
        Answers(Arc::new(Mutex::new(answers.collect())))
    }

    fn pool(&self) -> Arc<HttpPool> {
        let Answers(answers) = self.clone();
        let lookups = Lookups::with(move |name| {
            assert_eq!(name, NAME);
            let mut answers = answers.lock();
            Ok(match answers.len() {
                1 => answers[0].clone(),
                _ => answers.pop().unwrap(),
            })
        });
        Arc::new(HttpPool::new(settings(), lookups))
    }
}

async fn get_judged(pool: &Arc<HttpPool>, port: u16) -> Result<Bytes, Error> {
    let grant = format!("hosts = [\"{NAME}:{port}\"]\nprivate = [\"{GRANTED}\"]");
    let grant: HttpGrant = toml::from_str(&grant).unwrap();
    let request = request(Method::GET, &format!("http://{NAME}:{port}/"), None);
    let to = target(&request.uri().to_string());
    let admits = |address| grant.admits_address(address, NAME);
    let sent = pool.send(&to, request, patient(), &admits).await?;
    Ok(lent(sent).into_body().collect().await?.to_bytes())
}

/// Says where it listens, to one request of each connection.
fn teller(
    address: IpAddr,
) -> impl Fn(Peer) -> futures_util::future::BoxFuture<'static, ()> + Clone + Send {
    move |mut peer: Peer| {
        Box::pin(async move {
            peer.request().await;
            let close = "connection: close\r\n";
            peer.send(&answer(close, &address.to_string())).await;
        })
    }
}

#[tokio::test]
async fn of_two_addresses_the_private_one_is_never_connected_to() {
    let granted = RawServer::start(teller(GRANTED)).await;
    let port = granted.port;
    let private = RawServer::start_at(&format!("{PRIVATE}:{port}"), teller(PRIVATE)).await;
    for order in [[GRANTED, PRIVATE], [PRIVATE, GRANTED]] {
        let pool = Answers::of(&[&order]).pool();
        for _ in 0..3 {
            let said = get_judged(&pool, port).await.unwrap();
            assert_eq!(said, GRANTED.to_string());
        }
    }
    assert_eq!((granted.connections(), private.connections()), (6, 0));
}

#[tokio::test]
async fn private_address_is_no_substitute_for_one_that_does_not_answer() {
    let private = RawServer::start_at(&format!("{PRIVATE}:0"), teller(PRIVATE)).await;
    // Nobody listens there at the other address.
    for order in [[GRANTED, PRIVATE], [PRIVATE, GRANTED]] {
        let said = get_judged(&Answers::of(&[&order]).pool(), private.port).await;
        assert!(matches!(said, Err(Error::Connect(_))), "{said:?}");
    }
    assert_eq!(private.connections(), 0);
}

#[tokio::test]
async fn answer_that_changes_between_two_requests_is_judged_again() {
    let granted = RawServer::start(teller(GRANTED)).await;
    let port = granted.port;
    let private = RawServer::start_at(&format!("{PRIVATE}:{port}"), teller(PRIVATE)).await;
    let pool = Answers::of(&[&[GRANTED], &[PRIVATE], &[GRANTED]]).pool();
    assert_eq!(get_judged(&pool, port).await.unwrap(), GRANTED.to_string());
    let said = get_judged(&pool, port).await;
    assert!(matches!(said, Err(Error::DestinationIpProhibited)));
    assert_eq!(get_judged(&pool, port).await.unwrap(), GRANTED.to_string());
    assert_eq!((granted.connections(), private.connections()), (2, 0));
}
