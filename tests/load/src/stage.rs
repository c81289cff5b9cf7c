//! Which server is measured, and how it is started for a row.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::peer::{Peer, Templates};
use crate::process::{Server, free_port};

/// The kinds of server we can put on the stage.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Ours, started from this binary.
    Cartlink { program: PathBuf },
    /// nchan from Debian's packages, started with `nchan.conf`.
    Nchan,
    /// One that already runs; its cost is read from this pid.
    Other { peer: Box<Peer>, pid: u32 },
}

/// Everything a row needs besides its own shape.
#[derive(Clone, Debug)]
pub struct Stage {
    pub kind: Kind,
    pub server_core: usize,
    pub time: Duration,
    pub idle_streams: u32,
    pub scratch: PathBuf,
}

impl Stage {
    /// A fresh server, and how to speak to it.
    pub fn set(&self) -> Result<(Peer, Server), String> {
        match &self.kind {
            Kind::Cartlink { program } => {
                let ours = crate::ours::start(self, program, &[])?;
                Ok((ours.events_peer()?, ours.server))
            }
            Kind::Nchan => self.nchan(),
            Kind::Other { peer, pid } => Ok(((**peer).clone(), Server::running(*pid))),
        }
    }

    fn nchan(&self) -> Result<(Peer, Server), String> {
        let port = free_port()?;
        let folder = self.scratch.join(format!("nchan-{port}"));
        fs::create_dir_all(&folder).map_err(|why| why.to_string())?;
        let folder_name = folder.to_string_lossy().into_owned();
        let conf = include_str!("../nchan.conf").replace("FOLDER", &folder_name).replace("PORT", &port.to_string());
        let path = folder.join("nginx.conf");
        fs::write(&path, conf).map_err(|why| why.to_string())?;
        let args = ["-p", &folder_name, "-c", &path.to_string_lossy()].map(str::to_owned);
        let server = Server::start(self.server_core, "nginx", &args, &[], ([127, 0, 0, 1], port).into())?;
        let peer = Peer::new(&Templates {
            name: "nchan",
            stream_url: &format!("http://127.0.0.1:{port}/sub?id={{channel}}"),
            headers: &[],
            publish_url: &format!("http://127.0.0.1:{port}/pub?id={{channel}}"),
            publish_body: "{data}",
            publish_type: "text/plain",
            secret: "",
        })?;
        Ok((peer, server))
    }
}
