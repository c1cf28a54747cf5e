//! Directories that are not ours to open: in use, of another format, or of another engine.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use sixbells::{
    StartError,
    storage::{LogEngine, open_log},
};

use crate::support::*;

const DIR: &str = "SIXBELLS_HOLD_DIR";
const ENGINE: &str = "SIXBELLS_HOLD_ENGINE";

/// Two processes on one log would destroy it. The second must be refused while the first lives, and
/// let in afterwards.
#[test]
fn a_directory_in_use_by_another_process_is_locked() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "home::child", "--nocapture"])
            .env(DIR, dir.path())
            .env(ENGINE, engine.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("@held")), "the child never held the log");
        match open(engine, dir.path()) {
            Err(StartError::Locked(locked)) => assert!(locked.starts_with(dir.path())),
            other => panic!("{engine}: expected a locked directory, found {other:?}"),
        }
        drop(child.stdin.take());
        child.wait().unwrap();
        open(engine, dir.path()).unwrap();
    }
}

/// Also within one process, and until the handle is dropped.
#[test]
fn a_directory_in_use_by_this_process_is_locked() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let log = open(engine, dir.path()).unwrap();
        assert!(matches!(open(engine, dir.path()), Err(StartError::Locked(_))));
        drop(log);
        open(engine, dir.path()).unwrap();
    }
}

#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let engine: LogEngine = std::env::var(ENGINE).unwrap().parse().unwrap();
    let log = open(engine, Path::new(&dir)).unwrap();
    println!("@held");
    // Until the parent closes our input.
    std::io::stdin().read_line(&mut String::new()).unwrap();
    drop(log);
}

fn expect_foreign(engine: LogEngine, dir: &Path) -> String {
    match open_log(engine, dir) {
        Err(error @ StartError::Foreign { .. }) => error.to_string(),
        other => panic!("{engine}: expected a foreign directory, found {other:?}"),
    }
}

#[test]
fn other_formats_and_engines_are_refused_by_name() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        Step::Append(vec![record(1, 0, 10)]).apply(&*open(engine, dir.path()).unwrap());
        let home = dir.path().join(engine.to_string());
        let format = home.join("format");
        let ours = fs::read_to_string(&format).unwrap();

        fs::write(&format, format!("sixbells-log {engine} 9 and more that is new\n")).unwrap();
        assert!(expect_foreign(engine, dir.path()).contains("version 9"));
        fs::write(&format, "somebody else's\n").unwrap();
        expect_foreign(engine, dir.path());
        fs::remove_file(&format).unwrap();
        assert!(expect_foreign(engine, dir.path()).contains("format"));
        fs::write(&format, &ours).unwrap();

        // Asked for the other engine, an empty log would forget every vote.
        let other = ENGINES.into_iter().find(|other| *other != engine).unwrap();
        expect_foreign(other, dir.path());
        fs::rename(&home, dir.path().join(other.to_string())).unwrap();
        assert!(expect_foreign(other, dir.path()).contains(&engine.to_string()));
        fs::rename(dir.path().join(other.to_string()), &home).unwrap();

        let witness = home.join("witness");
        let promised = fs::read(&witness).unwrap();
        fs::remove_file(&witness).unwrap();
        assert_eq!(expect_damage(open(engine, dir.path()), "no witness").file, witness);
        fs::write(&witness, &promised).unwrap();
        assert_eq!(open(engine, dir.path()).unwrap().state().last, Some(id(1, 0)));
    }
}

/// A crash while a log is created leaves files and no promise: it is created anew.
#[test]
fn an_interrupted_creation_is_repeated() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        drop(open(engine, dir.path()).unwrap());
        let home = dir.path().join(engine.to_string());
        fs::rename(home.join("format"), home.join("creating")).unwrap();
        Step::Append(vec![record(1, 0, 10)]).apply(&*open(engine, dir.path()).unwrap());
        assert_eq!(open(engine, dir.path()).unwrap().state().last, Some(id(1, 0)));
    }
}

#[test]
fn engines_have_names() {
    for engine in ENGINES {
        assert_eq!(engine.to_string().parse(), Ok(engine));
    }
    assert!("rocks".parse::<LogEngine>().is_err());
    assert_eq!(LogEngine::default(), LogEngine::Wal);
}

/// A process that was just started shares the files of the one that starts it, until it runs its own program:
/// so a lock is still held for a moment after the log was closed. Seen on a busy machine, where one test closed
/// a log and another one started a process.
#[test]
fn a_lock_that_is_let_go_of_in_a_moment_is_waited_for() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let log = open(engine, dir.path()).unwrap();
        let (opened, closed) = std::thread::scope(|scope| {
            let closing = scope.spawn(|| {
                std::thread::park_timeout(std::time::Duration::from_millis(100));
                drop(log);
            });
            (open(engine, dir.path()), closing.join())
        });
        closed.unwrap();
        opened.unwrap();
    }
}
