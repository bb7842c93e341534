//! Real Keystone, Glance and Ironic on loopback, which run as long as this process.
//! `fixtures/openstack/run` starts them. When its standard input ends, for whatever reason, it
//! stops them and removes everything.

#![allow(dead_code, reason = "each tier uses a part of it")]
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Keystone, and Glance with and without it.
pub const IMAGES: &str = "keystone glance glance-noauth";
/// The above, and Ironic with and without Keystone.
pub const EVERYTHING: &str = "keystone glance glance-noauth ironic ironic-noauth";

/// A running instance. It ends when this is dropped, or with the process.
#[derive(Debug)]
pub struct Servers {
    runner: Child,
    data: PathBuf,
    base: u16,
}

impl Servers {
    /// Starts the named services. `settings` are further settings of `fixtures/openstack/up`, such
    /// as `OSIMG_OS_TOKEN_SECONDS`.
    ///
    /// # Errors
    /// Reports why they do not run, with the last lines of the scripts' output.
    pub fn start(services: &str, settings: &[(&str, &str)]) -> Result<Self, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/openstack/run");
        let log = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR"))
            .map_err(|e| e.to_string())?;
        let mut runner = Command::new("bash")
            .arg(script)
            .env("OSIMG_OS_SERVICES", services)
            .envs(settings.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.reopen().map_err(|e| e.to_string())?)
            .spawn()
            .map_err(|e| format!("bash: {e}"))?;
        let mut output = String::new();
        let out = runner.stdout.take().ok_or("no pipe")?;
        let ready = BufReader::new(out).lines().map_while(Result::ok).find_map(|line| {
            output.push_str(&line);
            line.strip_prefix("ready ").map(PathBuf::from)
        });
        let Some(data) = ready else {
            let _ = runner.wait();
            let mut text = String::new();
            let _ = File::open(log.path()).and_then(|mut f| f.read_to_string(&mut text));
            let tail: Vec<&str> = text.lines().rev().take(12).collect();
            return Err(format!(
                "the OpenStack servers do not start: {}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            ));
        };
        let base = data
            .to_string_lossy()
            .rsplit('-')
            .next()
            .and_then(|n| n.parse().ok())
            .ok_or("a directory named after its first port")?;
        Ok(Self { runner, data, base })
    }

    /// A separate instance for one test; none after a skip, if servers are not available.
    pub fn separate(services: &str, settings: &[(&str, &str)]) -> Option<Self> {
        match Self::start(services, settings) {
            Ok(servers) => Some(servers),
            Err(why) => {
                crate::support::skip(&why);
                None
            }
        }
    }

    /// The instance that all tests of this process share; none after a skip, if servers are not
    /// available.
    pub fn shared(_services: &'static str) -> Option<&'static Self> {
        static SHARED: OnceLock<Result<Servers, String>> = OnceLock::new();
        // The first test starts it. Publishing and deploying share one start, because starting
        // takes most of their time.
        match SHARED.get_or_init(|| Self::start(EVERYTHING, &[])) {
            Ok(servers) => Some(servers),
            Err(why) => {
                crate::support::skip(why);
                None
            }
        }
    }

    /// The directory of the instance: `clouds.yaml`, `tls/ca.crt`, `certificates/`, `www/`, `log/`,
    /// `glance/images/`.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The clouds `osimg` (admin), `osimg-demo` and `osimg-other` (members of two projects),
    /// `osimg-system`, `osimg-tls`, `osimg-tls-nocacert`, `osimg-noauth`.
    pub fn clouds_yaml(&self) -> PathBuf {
        self.data.join("clouds.yaml")
    }

    /// A cloud as data.
    pub fn cloud(&self, name: &str) -> Value {
        let text = std::fs::read_to_string(self.clouds_yaml()).expect("clouds.yaml");
        let all: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        all["clouds"][name].clone()
    }

    /// A port by offset: 0 Keystone, 1 Keystone with TLS, 2 Glance, 3 Glance with TLS, 4 Glance
    /// without Keystone, 5 Ironic, 6 Ironic's web server, 7 `www/`, 8 Ironic without Keystone.
    pub fn port(&self, offset: u16) -> u16 {
        self.base + offset
    }

    /// A service's process id.
    pub fn pid(&self, service: &str) -> i32 {
        let text = std::fs::read_to_string(self.data.join(format!("run/{service}.pid")))
            .expect("a pid file");
        text.trim().parse().expect("a process id")
    }

    /// `osimg` with this instance's clouds.yaml and without the user's own clouds.
    pub fn osimg(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osimg"));
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OS_"))
        {
            command.env_remove(name);
        }
        command
            .env("OS_CLIENT_CONFIG_FILE", self.clouds_yaml())
            .env("HOME", &self.data)
            .args(arguments);
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.runner.stdin.take());
        let _ = self.runner.wait();
    }
}

/// A client of the real APIs that shares no code with osimg.
#[derive(Debug)]
pub struct Api {
    agent: ureq::Agent,
    token: Option<String>,
    /// Service type to URL, from the token's catalogue.
    pub endpoints: BTreeMap<String, String>,
    /// The project's id.
    pub project: String,
    /// The user's id.
    pub user: String,
}

impl Api {
    /// Logs in to a cloud of the instance's clouds.yaml by password.
    pub fn login(servers: &Servers, cloud: &str) -> Self {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let cloud = servers.cloud(cloud);
        if cloud["auth_type"] == "none" {
            let image = cloud["image_endpoint_override"].as_str().expect("an endpoint").to_owned();
            let metal =
                cloud["baremetal_endpoint_override"].as_str().expect("an endpoint").to_owned();
            return Self {
                agent,
                token: None,
                endpoints: [("image".into(), image), ("baremetal".into(), metal)].into(),
                project: String::new(),
                user: String::new(),
            };
        }
        let auth = &cloud["auth"];
        let scope = if auth["system_scope"].is_string() {
            serde_json::json!({ "system": { "all": true } })
        } else {
            serde_json::json!({ "project": { "name": auth["project_name"],
                "domain": { "name": "Default" } } })
        };
        let body = serde_json::json!({ "auth": { "identity": { "methods": ["password"],
            "password": { "user": {
            "name": auth["username"], "domain": { "name": "Default" },
            "password": auth["password"] } } }, "scope": scope } });
        let url = format!("{}/auth/tokens", auth["auth_url"].as_str().expect("a URL"));
        let mut answer = agent
            .post(&url)
            .content_type("application/json")
            .send(body.to_string())
            .expect("Keystone answers");
        let token = answer
            .headers()
            .get("x-subject-token")
            .and_then(|t| t.to_str().ok())
            .expect("a token")
            .to_owned();
        let body: Value =
            serde_json::from_str(&answer.body_mut().read_to_string().expect("an answer"))
                .expect("JSON");
        let mut endpoints = BTreeMap::new();
        for service in body["token"]["catalog"].as_array().into_iter().flatten() {
            for endpoint in service["endpoints"].as_array().into_iter().flatten() {
                if endpoint["interface"] == "public" && endpoint["region"] == "RegionOne" {
                    let (kind, url) = (
                        service["type"].as_str().expect("a type"),
                        endpoint["url"].as_str().expect("a URL"),
                    );
                    endpoints.insert(kind.to_owned(), url.to_owned());
                }
            }
        }
        let project = body["token"]["project"]["id"].as_str().unwrap_or_default().to_owned();
        let user = body["token"]["user"]["id"].as_str().unwrap_or_default().to_owned();
        Self { agent, token: Some(token), endpoints, project, user }
    }

    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    /// One call to a service. Returns the status and the body, null if the body is not JSON.
    pub fn call(
        &self,
        method: &str,
        service: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, Value) {
        let url = format!("{}{path}", self.endpoints.get(service).expect("a service"));
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(&url)
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        }
        if service == "baremetal" {
            request = request.header("x-openstack-ironic-api-version", "1.72");
        }
        let kind = match (service, method) {
            ("image", "PATCH") => "application/openstack-images-v2.1-json-patch",
            ("image", "PUT") if path.ends_with("/file") => "application/octet-stream",
            _ => "application/json",
        };
        let text = body.map(Value::to_string).unwrap_or_default();
        let request = request.header("content-type", kind).body(text).expect("a request");
        let mut answer = self.agent.run(request).expect("an answer");
        let text = answer.body_mut().read_to_string().unwrap_or_default();
        (answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// One image of Glance, or null.
    pub fn image(&self, id: &str) -> Value {
        let (status, body) = self.call("GET", "image", &format!("/v2/images/{id}"), None);
        if status == 200 { body } else { Value::Null }
    }

    /// All visible images, including hidden ones.
    pub fn images(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for hidden in ["false", "true"] {
            let mut path = format!("/v2/images?limit=100&os_hidden={hidden}&member_status=all");
            loop {
                let (status, body) = self.call("GET", "image", &path, None);
                assert_eq!(status, 200, "{body}");
                found.extend(body["images"].as_array().cloned().unwrap_or_default());
                match body["next"].as_str() {
                    Some(next) => path = next.to_owned(),
                    None => break,
                }
            }
        }
        found
    }
}
