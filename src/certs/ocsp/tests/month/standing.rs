//! Certificates that are renewed while they need a staple.

use super::*;

fn required(subject: &Arc<Subject>) -> Arc<Stapled> {
    Arc::new(Stapled::awaiting(&shown::key(), Arc::clone(subject), true))
}

#[test]
fn a_required_one_keeps_its_staple_when_somebody_else_is_asked() {
    let mut world = World::new(1, 1, DAY * 7);
    let subject = Arc::clone(world.stapled[0].subject().unwrap());
    let old = required(&subject);
    world.stapled = vec![Arc::clone(&old)];
    world.start(&mut |_| None);
    world.run(noon() + MINUTE, &|_, _| Weather::Good, &mut |_| {});
    let moved = Subject {
        source: Some(Source::File("later.ocsp".into())),
        ..Subject::clone(&subject)
    };
    let new = required(&Arc::new(moved));
    assert!(new.stand_in(&old, &[], world.now));
    world.stapled = vec![Arc::clone(&new)];
    world.start(&mut |_| None);
    // Its own staple, and nobody stands in.
    assert!(new.former(world.now).is_none());
    assert_eq!(new.current(|| world.now).says, Some("good"));
    world.book.forget(world.now);
    assert_eq!(world.book.figures(world.now).valid, 1);
}

#[test]
fn a_former_one_is_followed_while_it_stands_in_and_no_longer() {
    // Its certificate is valid for two days.
    let mut world = World::new(2, 2, HOUR * 12);
    let subjects = [0, 1].map(|number| Arc::clone(world.stapled[number].subject().unwrap()));
    let [old, new] = subjects.each_ref().map(required);
    world.stapled = vec![Arc::clone(&old)];
    world.start(&mut |_| None);
    world.run(noon() + MINUTE, &|_, _| Weather::Good, &mut |_| {});
    assert!(new.stand_in(&old, &[], world.now));
    // The numbers are those of the world's hosts.
    world.stapled = vec![Arc::clone(&old), Arc::clone(&new)];
    let now = world.now;
    world
        .book
        .follow([Arc::clone(&new)].into_iter(), &mut |_| None, now);
    let dead = |host: &str, _| match host {
        "ocsp1.example" => Weather::Dead,
        _ => Weather::Good,
    };
    // Past the end of what it had: it has a newer one, and is still known.
    let later = noon() + DAY;
    world.run(later, &dead, &mut |world| world.book.forget(world.now));
    assert_eq!(new.current(|| later).says, Some("good"));
    assert!(
        new.former(later)
            .is_some_and(|former| Arc::ptr_eq(&former, &old))
    );
    let figures = world.book.figures(later);
    assert_eq!((figures.valid, figures.missing), (1, 1));
    // Whoever holds the old one still, such as a connection.
    world.run(later + HOUR, &|_, _| Weather::Good, &mut |_| {});
    assert!(new.former(world.now).is_none());
    world.book.forget(world.now);
    let figures = world.book.figures(world.now);
    assert_eq!((figures.valid, figures.missing), (1, 0));
}
