//! A full disk: a small tmpfs of the test's own, filled to the last byte and freed again.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::load::Load;
use crate::network::within_namespaces;
use crate::program::Program;

#[tokio::test]
async fn on_a_full_disk_publishing_is_refused_honestly_and_goes_on_once_there_is_room() {
    if !within_namespaces("disk::on_a_full_disk_publishing_is_refused_honestly_and_goes_on_once_there_is_room") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&disk).status().unwrap();
    assert!(mounted.success());
    let program = Program::start_in(folder, disk.join("data"), &[]).await;
    let mut load = Load::gather(&program, &program.public(""), 2, 4).await;
    load.publish(&program, Duration::from_millis(2));
    load.until_promised(100).await;

    let filler = disk.join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 1024]).is_ok() {}
    let deadline = Instant::now() + Duration::from_secs(120);
    while load.refused_with(503) == 0 {
        assert!(Instant::now() < deadline, "publishing is not refused on a full disk: {:?}", load.statuses());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(file);
    fs::remove_file(&filler).unwrap();

    let more = load.promised() + 100;
    load.until_promised(more).await;
    load.rest_and_check().await;
    assert_eq!(load.statuses(), [503], "every refusal was an honest one");
}
