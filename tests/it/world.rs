//! A world for one test: simulated providers on real sockets, a gate in this process on a port of
//! its own, and a client. Dropping it stops everything.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use loadtest::{Behaviour, Dialect, SimulatedProvider};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use vlmgate::app::App;
use vlmgate::clock::Deadline;
use vlmgate::config::environment::Environment;
use vlmgate::config::{Config, Overrides};
use vlmgate::drill::schedule::Scheduled;

/// The judges of every world, in the shipped policy's order, with the dialect behind each.
pub(crate) const JUDGES: [(&str, Dialect); 4] = [
    ("openai-mini", Dialect::OpenAi),
    ("claude-haiku", Dialect::Anthropic),
    ("gemini-flash", Dialect::Gemini),
    ("mistral-vision", Dialect::Mistral),
];

/// What a world is made of.
pub(crate) struct Plan {
    /// Judges of the route, in order.
    pub(crate) route: Vec<&'static str>,
    /// The policy's deadline, ms.
    pub(crate) deadline_ms: u64,
    /// Further lines of `vlmgate.yaml`.
    pub(crate) config: String,
    /// What is replaced in the policy before it is loaded.
    pub(crate) edits: Vec<(String, String)>,
    /// Drills that run by themselves, however often a file could not say.
    pub(crate) scheduled: Vec<Scheduled>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            route: JUDGES.iter().map(|(name, _)| *name).collect(),
            deadline_ms: 5_000,
            config: String::new(),
            edits: Vec::new(),
            scheduled: Vec::new(),
        }
    }
}

/// A running gate and its providers.
pub(crate) struct World {
    pub(crate) providers: Vec<SimulatedProvider>,
    pub(crate) address: SocketAddr,
    pub(crate) client: reqwest::Client,
    pub(crate) folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The photograph that ships with the tests.
pub(crate) fn mug() -> Vec<u8> {
    fs::read(root().join("tests/fixtures/mug.jpg")).unwrap()
}

/// A client that sends what a test says and nothing more.
pub(crate) fn client() -> reqwest::Client {
    vlmgate::provider::transport::install_crypto();
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30));
    builder.build().unwrap()
}

/// Starts the four providers, all healthy and quick.
pub(crate) fn start_providers() -> Vec<SimulatedProvider> {
    let start = |(_, dialect): (&str, Dialect)| {
        let mut settings = loadtest::Settings::new(dialect);
        settings.behaviour = healthy();
        SimulatedProvider::start(settings).unwrap()
    };
    JUDGES.into_iter().map(start).collect()
}

/// Answers at once, and passes every image.
pub(crate) fn healthy() -> Behaviour {
    Behaviour {
        latency: loadtest::Latency::ConstantMs(5),
        judging: loadtest::Judging::Always(0.95),
        ..Behaviour::default()
    }
}

/// Writes `vlmgate.yaml` and a copy of the shipped policy, edited, into `folder`.
pub(crate) fn write_files(folder: &Path, providers: &[SimulatedProvider], plan: &Plan) -> PathBuf {
    let policies = folder.join("policies");
    copy_folder(&root().join("policies"), &policies);
    let file = policies.join("product-photo.yaml");
    let mut policy = fs::read_to_string(&file).unwrap();
    let route = plan.route.join(", ");
    let shipped = "judges: [openai-mini, claude-haiku, gemini-flash, mistral-vision]";
    let mut edits = vec![
        (shipped.to_owned(), format!("judges: [{route}]")),
        ("deadline: 5s".to_owned(), format!("deadline: {}ms", plan.deadline_ms)),
    ];
    edits.extend(plan.edits.iter().cloned());
    for (from, to) in edits {
        assert!(policy.contains(&from), "the policy has no {from:?} to replace");
        policy = policy.replacen(&from, &to, 1);
    }
    fs::write(&file, policy).unwrap();
    let data = folder.join("data");
    // on a busy machine a connection may take longer than the 300 ms that are usual
    let judges = loadtest::vlmgate_config(providers);
    let judges = judges.replace("base_url:", "connect_timeout: 2s, base_url:");
    let text = format!(
        "{}\nstore: {{ url: \"sqlite://{}/vlmgate.db\" }}\npolicies: {{ dir: {}, reload: watch }}\n{}",
        judges,
        data.display(),
        policies.display(),
        plan.config
    );
    let config = folder.join("vlmgate.yaml");
    fs::write(&config, text).unwrap();
    config
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_folder(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

impl World {
    /// A world with the shipped policy and healthy providers.
    pub(crate) async fn new() -> Self {
        Self::of(Plan::default()).await
    }

    /// A world of `plan`.
    pub(crate) async fn of(plan: Plan) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let providers = start_providers();
        let config = write_files(folder.path(), &providers, &plan);
        Self::serve(folder, providers, &config, plan.scheduled).await
    }

    /// A world of the files in `folder`.
    pub(crate) async fn serve(
        folder: TempDir,
        providers: Vec<SimulatedProvider>,
        config: &Path,
        scheduled: Vec<Scheduled>,
    ) -> Self {
        let overrides =
            Overrides { listen: Some("127.0.0.1:0".to_owned()), ..Overrides::default() };
        let config = Config::read(config, &Environment::of([]), &overrides);
        let mut config = config.unwrap_or_else(|problems| panic!("{problems}"));
        config.drills.scheduled = scheduled;
        let app = App::build(config).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { drop(stopped.await) };
        #[expect(clippy::disallowed_methods, reason = "a test owns this task and joins it")]
        let served = tokio::spawn(async move { app.serve(listener, None, stopped).await.unwrap() });
        Self { providers, address, client: client(), folder, stop: Some(stop), served }
    }

    /// The provider behind `judge`.
    pub(crate) fn provider(&self, judge: &str) -> &SimulatedProvider {
        let at = JUDGES.iter().position(|(name, _)| *name == judge).unwrap();
        &self.providers[at]
    }

    /// Waits until the provider behind `judge` has been asked.
    pub(crate) async fn asked(&self, judge: &str) {
        let is_question = |call: &loadtest::CallLog| call.kind == loadtest::CallKind::Question;
        let asked = self.provider(judge).until(|calls| calls.iter().any(is_question));
        let asked = Deadline::after(Duration::from_secs(20)).bound(asked).await;
        assert!(asked.is_ok(), "{judge} was never asked");
    }

    /// How many questions the provider behind `judge` was asked.
    pub(crate) fn questions(&self, judge: &str) -> usize {
        let calls = self.provider(judge).calls();
        calls.iter().filter(|call| call.kind == loadtest::CallKind::Question).count()
    }

    /// `http://…` and `path`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Posts an image as a raw body and returns the status and the JSON.
    pub(crate) async fn post(&self, image: Vec<u8>) -> (u16, Value) {
        self.post_with(image, &[]).await
    }

    /// The same with headers.
    pub(crate) async fn post_with(&self, image: Vec<u8>, headers: &[(&str, &str)]) -> (u16, Value) {
        let path = "/v1/verdicts?policy=product-photo&vars.category=home&vars.background=white";
        let mut request = self.client.post(self.url(path)).body(image);
        request = request.header("content-type", "image/jpeg");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(json!({ "text": text })))
    }

    /// Gets JSON.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let answer = self.client.get(self.url(path)).send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(json!({ "text": text })))
    }

    /// The figures of the last hour, as soon as `n` verdicts are counted in them.
    pub(crate) async fn counted(&self, n: u64) -> Value {
        let counted = async {
            loop {
                let (status, stats) = self.get("/v1/stats").await;
                assert_eq!(status, 200, "{stats}");
                if stats["total"]["n"].as_u64() >= Some(n) {
                    return stats;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let counted = Deadline::after(Duration::from_secs(20)).bound(counted).await;
        counted.unwrap_or_else(|_| panic!("{n} verdicts were not counted within 20 s"))
    }

    /// Tells the gate to stop and waits until it has.
    pub(crate) async fn stop(mut self) -> TempDir {
        if let Some(stop) = self.stop.take() {
            assert_eq!(stop.send(()), Ok(()), "the gate still listens");
        }
        (&mut self.served).await.unwrap();
        self.folder
    }
}
