//! The link to one server: a connection for commands and one for subscriptions, both
//! watched for silence. Says what happens on it by [`LinkEvent`]s; decides nothing.

use std::{pin::Pin, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, ErrorKind, Pipeline, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, RedisError, ServerError, Value,
    aio::{AsyncPushSender, MultiplexedConnection},
};
use tokio::{
    sync::mpsc::UnboundedSender,
    task::AbortHandle,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    pending::Pending,
    scripts::{Scripts, bytes_of},
    stream::{Watch, Watched},
    tls,
    url::{Address, Credentials},
};

/// How long a server may take to answer what is asked when a link is made.
const SETUP_TIMEOUT: Duration = Duration::from_millis(1000);
/// How often a link is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks without a byte although an answer is due, after which a link is dead. Looks, not
/// time: while this process is paused nobody looks.
const SILENT_LOOKS: u32 = 4;
/// Bytes beyond which a connection writes before it takes more.
const WRITE_BYTES: usize = 256 << 10;

/// What happens on links.
pub(super) enum LinkEvent {
    /// A link has ended, and why.
    Lost(u64, String),
    /// Something was pushed on subscriptions, of so many bytes.
    Pushed(u64, PushInfo, usize),
    /// The answers to a batch, or none because the link has ended.
    Answered(Vec<Pending>, Option<Vec<Value>>),
    /// What became of subscribing.
    Subscribed(u64, Vec<Value>),
}

pub(super) type Events = UnboundedSender<LinkEvent>;

/// What reads and writes for a connection.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A link. Dropped, it ends.
pub(super) struct Link {
    pub(super) id: u64,
    commands: MultiplexedConnection,
    subscriptions: MultiplexedConnection,
    watch: Arc<Watch>,
    events: Events,
    tasks: Vec<AbortHandle>,
}

impl Drop for Link {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// A connection and what reads and writes for it.
pub(super) struct Opened {
    pub(super) connection: MultiplexedConnection,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who and what a connection is for.
pub(super) struct Purpose<'a> {
    pub(super) address: &'a Address,
    pub(super) tls: Option<&'a tls::Connector>,
    pub(super) credentials: &'a Credentials,
    pub(super) database: u32,
}

impl Purpose<'_> {
    /// Connects and agrees on the protocol.
    ///
    /// # Errors
    /// Why not, for people.
    async fn connect(
        &self,
        watch: Arc<Watch>,
        push: Option<Arc<dyn AsyncPushSender>>,
    ) -> Result<(MultiplexedConnection, Driver), String> {
        let stream = Watched::connect(self.address, self.tls, watch).await?;
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_skip_set_lib_name()
            .set_db(i64::from(self.database));
        if let Some(user) = &self.credentials.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.credentials.password {
            info = info.set_password(password);
        }
        let mut config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_write_backpressure_boundary(WRITE_BYTES);
        if let Some(push) = push {
            config = config.set_push_sender(push);
        }
        let connecting = MultiplexedConnection::new_with_config(&info, stream, config);
        match timeout(SETUP_TIMEOUT, connecting).await {
            Ok(Ok((connection, driver))) => Ok((connection, Box::pin(driver))),
            Ok(Err(error)) => Err(refusal(&error)),
            Err(_) => Err("no answer within a second".to_owned()),
        }
    }

    /// A connection for a few questions.
    pub(super) async fn open(&self) -> Result<Opened, String> {
        let (connection, driver) = self.connect(Arc::default(), None).await?;
        Ok(Opened { connection, task: tokio::spawn(driver) })
    }
}

/// Asks, and waits for the answers.
///
/// # Errors
/// If they do not come.
pub(super) async fn ask(
    connection: &mut MultiplexedConnection,
    questions: &Pipeline,
) -> Result<Vec<Value>, String> {
    let asking = connection.send_packed_commands(questions, 0, questions.len());
    match timeout(SETUP_TIMEOUT, asking).await {
        Ok(Ok(answers)) => Ok(answers),
        Ok(Err(error)) => Err(refusal(&error)),
        Err(_) => Err("no answer within a second".to_owned()),
    }
}

/// Why a server does not take us. Its own text never has a password.
fn refusal(error: &RedisError) -> String {
    let text = error.to_string();
    if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("WRONGPASS") {
        return "wrong user or password".to_owned();
    }
    if text.contains("NOAUTH") {
        return "the server asks for a password".to_owned();
    }
    let unknown = text.to_ascii_lowercase().contains("unknown command");
    if error.kind() == ErrorKind::RESP3NotSupported || unknown || text.contains("NOPROTO") {
        return "the server is too old: 6.2 is needed, 7.0 in a cluster".to_owned();
    }
    if error.is_io_error() || error.is_connection_dropped() {
        return format!("the connection was closed: {text}");
    }
    text
}

impl Link {
    /// Makes a link to a server that can be written to.
    ///
    /// # Errors
    /// Why not, for people.
    pub(super) async fn make(
        purpose: &Purpose<'_>,
        is_cluster: bool,
        id: u64,
        events: &Events,
    ) -> Result<Self, String> {
        let watches: [Arc<Watch>; 2] = Default::default();
        let (mut commands, driver) = purpose.connect(watches[0].clone(), None).await?;
        let mut tasks = vec![drive(driver, id, events)];
        let checked = check(&mut commands, is_cluster).await;
        let subscriptions = match checked {
            Ok(()) => {
                let push = Push { id, events: events.clone(), watch: watches[1].clone() };
                purpose.connect(watches[1].clone(), Some(Arc::new(push))).await
            }
            Err(why) => Err(why),
        };
        let (subscriptions, driver) = match subscriptions {
            Ok(made) => made,
            Err(why) => {
                tasks.iter().for_each(AbortHandle::abort);
                return Err(why);
            }
        };
        tasks.push(drive(driver, id, events));
        let both = [commands.clone(), subscriptions.clone()];
        tasks.push(tokio::spawn(look(both, watches.clone(), id, events.clone())).abort_handle());
        let [_, watch] = watches;
        Ok(Self { id, commands, subscriptions, watch, events: events.clone(), tasks })
    }

    /// Whether both connections stand, as far as is known.
    pub(super) fn is_alive(&self) -> bool {
        !self.tasks.iter().any(AbortHandle::is_finished)
    }

    /// Sends a batch of commands in one write. Batches are sent and answered in order.
    pub(super) fn send(&self, pipeline: Pipeline, batch: Vec<Pending>) {
        let mut connection = self.commands.clone();
        let events = self.events.clone();
        // Tasks of one thread are begun in the order in which they are spawned.
        tokio::spawn(async move {
            let count = pipeline.len();
            let answers = connection.send_packed_commands(&pipeline, 0, count).await;
            let _ = events.send(LinkEvent::Answered(batch, answers.ok()));
        });
    }

    /// Sends a batch of subscribing and unsubscribing.
    pub(super) fn subscribe(&self, pipeline: Pipeline) {
        let mut connection = self.subscriptions.clone();
        let (events, id) = (self.events.clone(), self.id);
        tokio::spawn(async move {
            let count = pipeline.len();
            if let Ok(answers) = connection.send_packed_commands(&pipeline, 0, count).await {
                let _ = events.send(LinkEvent::Subscribed(id, answers));
            }
        });
    }

    /// Reads subscriptions no more, or again.
    pub(super) fn pause(&self, paused: bool) {
        self.watch.pause(paused);
    }

    /// So many bytes that were pushed have been taken.
    pub(super) fn taken(&self, bytes: usize) {
        self.watch.taken(bytes);
    }
}

fn drive(driver: Driver, id: u64, events: &Events) -> AbortHandle {
    let events = events.clone();
    let task = tokio::spawn(async move {
        driver.await;
        let _ = events.send(LinkEvent::Lost(id, "the connection was closed".to_owned()));
    });
    task.abort_handle()
}

/// Gives on what is pushed.
struct Push {
    id: u64,
    events: Events,
    watch: Arc<Watch>,
}

impl AsyncPushSender for Push {
    fn send(&self, push: PushInfo) -> Result<(), redis::aio::SendError> {
        if push.kind == PushKind::Disconnection {
            return Ok(());
        }
        let bytes = push.data.iter().map(|value| bytes_of(value).map_or(8, <[u8]>::len));
        let bytes = bytes.sum::<usize>() + 128;
        self.watch.came(bytes);
        let event = LinkEvent::Pushed(self.id, push, bytes);
        self.events.send(event).map_err(|_| redis::aio::SendError)
    }
}

/// Whether the server will do, and gives it the scripts.
async fn check(connection: &mut MultiplexedConnection, is_cluster: bool) -> Result<(), String> {
    let mut questions = redis::pipe();
    questions.cmd("INFO").arg("server").cmd("ROLE");
    let answers = ask(connection, &questions).await?;
    let needed = if is_cluster { (7, 0) } else { (6, 2) };
    // Whoever may not ask is taken at their word.
    if let Some(version) = answers.first().and_then(version)
        && version < needed
    {
        let (major, minor) = version;
        return Err(format!(
            "the server is too old: version {major}.{minor}, {}.{} is needed",
            needed.0, needed.1
        ));
    }
    if answers.get(1).is_some_and(is_replica) {
        return Err(REPLICA.to_owned());
    }
    let answers = ask(connection, &Scripts::load()).await?;
    let refused = answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(format!("{} {}", error.code(), error.details()?)),
        _ => None,
    });
    refused.map_or(Ok(()), Err)
}

/// Whether an error says that an ACL forbids something.
pub(super) fn is_denied(error: &ServerError) -> bool {
    let details = error.details().unwrap_or_default();
    let denied = details.contains("No permissions") || details.contains("can't run this command");
    denied || matches!(error.code(), "NOPERM" | "NOAUTH")
}

/// Why a replica is not used.
pub(super) const REPLICA: &str = "the server is a read-only replica";

fn is_replica(role: &Value) -> bool {
    let Value::Array(parts) = role else { return false };
    parts.first().and_then(bytes_of) == Some(b"slave")
}

fn version(info: &Value) -> Option<(u32, u32)> {
    let text = match info {
        Value::VerbatimString { text, .. } => text.as_str(),
        other => std::str::from_utf8(bytes_of(other)?).ok()?,
    };
    let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    let mut parts = version.trim().split('.').map(str::parse);
    Some((parts.next()?.ok()?, parts.next()?.ok()?))
}

/// One of the two connections of a link, as it is looked at.
struct Looked {
    connection: MultiplexedConnection,
    watch: Arc<Watch>,
    question: Pipeline,
    /// The question that has not been answered.
    due: Option<tokio::task::JoinHandle<Option<Value>>>,
    reads: u64,
    silent: u32,
}

/// Asks on both connections again and again, and ends the link when no answer comes, or
/// the server has become a replica.
async fn look(both: [MultiplexedConnection; 2], watches: [Arc<Watch>; 2], id: u64, events: Events) {
    let questions = ["ROLE", "PING"].map(|name| redis::pipe().cmd(name).clone());
    let mut both: Vec<Looked> = both
        .into_iter()
        .zip(watches)
        .zip(questions)
        .map(|((connection, watch), question)| Looked {
            connection,
            watch,
            question,
            due: None,
            reads: 0,
            silent: 0,
        })
        .collect();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        for looked in &mut both {
            if let Err(why) = looked.look().await {
                let _ = events.send(LinkEvent::Lost(id, why.to_owned()));
                return;
            }
        }
    }
}

impl Looked {
    async fn look(&mut self) -> Result<(), &'static str> {
        let reads = self.watch.reads();
        if reads != self.reads || self.watch.is_held() {
            self.silent = 0;
        } else if self.due.is_some() {
            self.silent += 1;
        }
        self.reads = reads;
        if self.silent >= SILENT_LOOKS {
            return Err("no answer for a second");
        }
        if let Some(task) = &mut self.due {
            if !task.is_finished() {
                return Ok(());
            }
            if task.await.ok().flatten().is_some_and(|role| is_replica(&role)) {
                return Err(REPLICA);
            }
        }
        let (mut connection, question) = (self.connection.clone(), self.question.clone());
        self.due = Some(tokio::spawn(async move {
            let answers = connection.send_packed_commands(&question, 0, 1).await;
            answers.ok().and_then(|mut answers| answers.pop())
        }));
        Ok(())
    }
}
