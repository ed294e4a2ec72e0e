//! Certificates of the tests, made by the `openssl` program.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::server::{Directory, Server};

/// An authority of its own with one certificate, for 127.0.0.1.
pub(crate) struct Certificates {
    pub(crate) ca: PathBuf,
    directory: Directory,
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let directory = Directory::new();
        let run = |arguments: &str| {
            let status = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(directory.path())
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("openssl is installed by tests/run.sh");
            assert!(status.success(), "openssl {arguments}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        run(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
        run(&format!("req -new {key} -keyout server.key -out server.csr -subj /CN=server"));
        let names = directory.path().join("names");
        std::fs::write(names, "subjectAltName=IP:127.0.0.1,DNS:localhost").unwrap();
        run("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
             -extfile names -out server.pem");
        Self { ca: directory.path().join("ca.pem"), directory }
    }

    /// A server that listens by TLS only.
    pub(crate) fn server(&self) -> Server {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        let (certificate, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        Server::start(&[
            "--port",
            "0",
            "--tls-port",
            "PORT",
            "--tls-cert-file",
            &certificate,
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
        ])
    }
}
