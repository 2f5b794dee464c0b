//! What a panic ends.

/// From now on a panic ends the process: what is promised rests on all of its parts, and one that is gone in silence breaks the
/// promise. Only threads of these names may lose a task to it; whoever waits for that task must notice.
pub fn end_the_process(but_in: &'static [&'static str]) {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        let spared = std::thread::current().name().is_some_and(|name| but_in.contains(&name));
        if !spared {
            std::process::abort();
        }
    }));
}
