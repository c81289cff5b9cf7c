//! Certificates for servers that ask for them, and for those that show them.

use std::path::Path;
use std::process::{Command, Stdio};

/// An authority, and certificates of it for the servers and for the nodes.
pub fn certificates(folder: &Path) {
    let openssl = |args: &str| {
        let run = Command::new("openssl").args(args.split(' ')).current_dir(folder).stderr(Stdio::null()).status();
        assert!(run.expect("openssl is installed: run tests/run").success(), "openssl {args}");
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"));
    for (name, use_) in [("server", "serverAuth"), ("node", "clientAuth")] {
        std::fs::write(folder.join("ext"), format!("subjectAltName=IP:127.0.0.1\nextendedKeyUsage={use_}\n")).unwrap();
        openssl(&format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"));
        openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out {name}.pem"
        ));
    }
}
