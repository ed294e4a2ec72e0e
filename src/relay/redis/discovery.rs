//! Which server has which partition: the only one, the master that sentinels name, or the
//! masters of a cluster. Remembers nothing.

use std::{collections::BTreeSet, sync::Arc};

use redis::Value;
use tokio::task::JoinSet;

use super::{
    context::Context,
    link::{Link, Purpose, ask},
    names::slot,
    scripts::bytes_of,
    tls,
    url::{Address, Credentials, Topology},
};

/// Servers of a cluster that are asked for its state.
const ASKED: usize = 32;

/// Where partitions are.
pub(super) struct Plan {
    /// The server of each.
    pub(super) owners: Vec<Address>,
    /// All servers that are known: who is asked next time.
    pub(super) servers: Vec<Address>,
    /// Links to those that had none.
    pub(super) links: Vec<(Address, Link)>,
    /// Why one could not be made.
    pub(super) failed: Option<String>,
}

/// What is found out about servers.
pub(super) enum News {
    /// Where partitions are, and links that were made.
    Planned(Result<Plan, String>),
    /// Where the sentinels say that the master is now.
    Master(Address),
}

/// Finds the servers, and makes links to those that are not in `linked`.
///
/// # Errors
/// Why nothing is known, for people.
pub(super) async fn plan(
    context: Arc<Context>,
    servers: Vec<Address>,
    linked: BTreeSet<Address>,
    first_id: u64,
) -> Result<Plan, String> {
    let url = &context.settings.url;
    let tls = url.tls.as_ref().map(tls::Connector::new).transpose()?;
    let (owners, servers) = match &url.topology {
        Topology::Single => (vec![url.servers[0].clone()], Vec::new()),
        Topology::Sentinel(service) => {
            let master = master(&context, tls.as_ref(), service).await?;
            (vec![master], Vec::new())
        }
        Topology::Cluster => cluster(&context, tls.as_ref(), servers).await?,
    };
    let wanted: BTreeSet<Address> =
        owners.iter().filter(|owner| !linked.contains(owner)).cloned().collect();
    let mut making = JoinSet::new();
    for (address, id) in wanted.into_iter().zip(first_id..) {
        let (context, tls) = (context.clone(), tls.clone());
        making.spawn(async move {
            let url = &context.settings.url;
            let (credentials, database) = (&url.credentials, url.database);
            let purpose = Purpose { address: &address, tls: tls.as_ref(), credentials, database };
            let is_cluster = url.topology == Topology::Cluster;
            let link = Link::make(&purpose, is_cluster, id, &context.events).await;
            (address, link)
        });
    }
    let mut plan = Plan { owners, servers, links: Vec::new(), failed: None };
    while let Some(made) = making.join_next().await {
        match made {
            Ok((address, Ok(link))) => plan.links.push((address, link)),
            Ok((address, Err(why))) => plan.failed = Some(format!("{address}: {why}")),
            Err(_) => plan.failed = Some("a connection attempt was given up".to_owned()),
        }
    }
    Ok(plan)
}

/// The answer that more than half give, or else most of those who answer.
async fn vote<T: PartialEq + Send + 'static>(
    mut asked: JoinSet<Result<T, String>>,
) -> Result<T, String> {
    let needed = asked.len() / 2 + 1;
    let mut answers: Vec<(T, usize)> = Vec::new();
    let mut failed = "nobody to ask".to_owned();
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap_or_else(|error| Err(error.to_string())) {
            Err(why) => failed = why,
            Ok(answer) => {
                let place = answers.iter().position(|(known, _)| *known == answer);
                let place = place.unwrap_or_else(|| {
                    answers.push((answer, 0));
                    answers.len() - 1
                });
                answers[place].1 += 1;
                if answers[place].1 >= needed {
                    return Ok(answers.swap_remove(place).0);
                }
            }
        }
    }
    answers.into_iter().max_by_key(|(_, votes)| *votes).map(|(answer, _)| answer).ok_or(failed)
}

async fn question(
    address: &Address,
    credentials: &Credentials,
    tls: Option<&tls::Connector>,
    words: &[&str],
) -> Result<Value, String> {
    let told = |why: String| format!("{address}: {why}");
    let purpose = Purpose { address, tls, credentials, database: 0 };
    let mut opened = purpose.open().await.map_err(told)?;
    let mut questions = redis::pipe();
    if let Some((name, rest)) = words.split_first() {
        questions.cmd(name).arg(rest);
    }
    match ask(&mut opened.connection, &questions).await.map_err(told)?.pop() {
        Some(Value::ServerError(error)) => {
            Err(told(format!("{} {}", error.code(), error.details().unwrap_or_default())))
        }
        Some(answer) => Ok(answer),
        None => Err(told("no answer".to_owned())),
    }
}

/// The master that the sentinels name.
pub(super) async fn master(
    context: &Arc<Context>,
    tls: Option<&tls::Connector>,
    service: &str,
) -> Result<Address, String> {
    let mut asked = JoinSet::new();
    for sentinel in context.settings.url.servers.clone() {
        let (context, service, tls) = (context.clone(), service.to_owned(), tls.cloned());
        asked.spawn(async move {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &service];
            let credentials = &context.settings.url.sentinel;
            let answer = question(&sentinel, credentials, tls.as_ref(), &words).await?;
            let known = match &answer {
                Value::Array(parts) => match &parts[..] {
                    [host, port] => address(host, port, &sentinel),
                    _ => None,
                },
                _ => None,
            };
            known.ok_or_else(|| format!("the sentinel {sentinel} knows no service {service:?}"))
        });
    }
    vote(asked).await
}

fn address(host: &Value, port: &Value, asked: &Address) -> Option<Address> {
    let host = bytes_of(host).and_then(|host| std::str::from_utf8(host).ok()).unwrap_or("");
    let port = match port {
        Value::Int(port) => u16::try_from(*port).ok()?,
        other => std::str::from_utf8(bytes_of(other)?).ok()?.parse().ok()?,
    };
    // A server that does not know its own address is where it was asked.
    let host = if host.is_empty() || host == "?" { asked.host.clone() } else { host.to_owned() };
    (port > 0).then_some(Address { host, port })
}

type Owners = (Vec<Address>, Vec<Address>);

async fn cluster(
    context: &Arc<Context>,
    tls: Option<&tls::Connector>,
    mut servers: Vec<Address>,
) -> Result<Owners, String> {
    servers.extend(context.settings.url.servers.iter().cloned());
    servers.sort();
    servers.dedup();
    servers.truncate(ASKED);
    let mut asked = JoinSet::new();
    for server in servers {
        let (context, tls) = (context.clone(), tls.cloned());
        asked.spawn(async move {
            let credentials = &context.settings.url.credentials;
            let words = ["CLUSTER", "SLOTS"];
            let answer = question(&server, credentials, tls.as_ref(), &words).await?;
            owners(&answer, &server, context.names.partitions())
        });
    }
    vote(asked).await
}

/// The server of each partition by the answer to `CLUSTER SLOTS`, and all servers.
fn owners(answer: &Value, asked: &Address, partitions: u16) -> Result<Owners, String> {
    let mut owners = vec![None; usize::from(partitions)];
    let mut servers = BTreeSet::new();
    let Value::Array(ranges) = answer else {
        return Err(format!("{asked}: an unknown form of CLUSTER SLOTS"));
    };
    for range in ranges {
        let Value::Array(parts) = range else { continue };
        let [Value::Int(first), Value::Int(last), nodes @ ..] = &parts[..] else { continue };
        let mut found = nodes.iter().filter_map(|node| match node {
            Value::Array(parts) => match &parts[..] {
                [host, port, ..] => address(host, port, asked),
                _ => None,
            },
            _ => None,
        });
        let Some(master) = found.next() else { continue };
        for (partition, owner) in (0u16..).zip(&mut owners) {
            if (*first..=*last).contains(&i64::from(slot(partition))) {
                *owner = Some(master.clone());
            }
        }
        servers.extend(found.chain([master]).take(ASKED));
    }
    let whole: Option<Vec<Address>> = owners.into_iter().collect();
    let whole = whole.ok_or_else(|| format!("{asked}: the cluster does not serve all slots"))?;
    Ok((whole, servers.into_iter().take(ASKED).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: &str, port: i64) -> Value {
        Value::Array(vec![Value::BulkString(host.into()), Value::Int(port)])
    }

    fn range(first: i64, last: i64, nodes: Vec<Value>) -> Value {
        Value::Array([vec![Value::Int(first), Value::Int(last)], nodes].concat())
    }

    #[test]
    fn the_first_of_each_range_owns_it() {
        let asked = Address { host: "here".to_owned(), port: 1 };
        let answer = Value::Array(vec![
            range(0, 8_191, vec![node("", 7_000), node("b", 7_003)]),
            range(8_192, 16_383, vec![node("c", 7_001)]),
        ]);
        let (owners, servers) = owners(&answer, &asked, 16).unwrap();
        assert_eq!(servers.len(), 3);
        for (partition, owner) in (0..).zip(&owners) {
            let expected = if slot(partition) < 8_192 { "here:7000" } else { "c:7001" };
            assert_eq!(owner.to_string(), expected);
        }
    }

    #[test]
    fn a_cluster_with_a_hole_or_another_answer_is_refused() {
        let asked = Address { host: "here".to_owned(), port: 1 };
        let hole = Value::Array(vec![range(0, 100, vec![node("a", 1)])]);
        for answer in [hole, Value::Nil, Value::Array(vec![Value::Nil, range(0, 16_383, vec![])])] {
            assert!(owners(&answer, &asked, 16).is_err());
        }
    }
}
