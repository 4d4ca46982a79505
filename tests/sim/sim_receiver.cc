#include "sim_receiver.h"

#include <algorithm>

#include "receive/session.h"

namespace weir::sim {

/// The signal.
class SimReceiver::Stop final : public Pollable {
 public:
  short ready(short events) override {
    return raised ? static_cast<short>(events & POLLIN) : short{0};
  }
  net::Wake interrupt;
  bool raised = false;
};

class SimReceiver::ReceiverLog final : public Log {
 public:
  explicit ReceiverLog(Story& story) : story_(story) {}
  void write(LogLevel level, std::string_view message) override { story_.write(level, message); }
  bool enabled(LogLevel level) const override { return story_.enabled(level); }

  /// The compressor has no other way to tell.
  void write_error(const Error& error) override {
    if (enabled(LogLevel::error)) Log::write_error(error);
    if (error.kind() == ErrorKind::damage &&
        error.message().find("does not match its original") != std::string::npos)
      throw Violation{"P2", error.what()};
    if (error.kind() == ErrorKind::conflict &&
        error.message().starts_with("the uncompressed and the compressed"))
      throw Violation{"P2", error.what()};
  }

 private:
  Story& story_;
};

SimReceiver::SimReceiver(const receive::Options& options, Surroundings& surroundings,
                         std::uint64_t seed)
    : options_(options),
      world_(surroundings),
      seed_(seed),
      machine_(surroundings.scheduler, surroundings.story),
      servers_({.upstream = surroundings.upstream,
                .ledger = surroundings.ledger,
                .random = surroundings.random,
                .story = surroundings.story,
                .scheduler = surroundings.scheduler,
                .machine = machine_,
                .board = board_,
                .disk = surroundings.disk,
                .feedback = surroundings.feedback,
                .dropped = surroundings.dropped,
                .confirmed = surroundings.confirmed,
                .lost_by_store = surroundings.lost_by_store}),
      directory_(surroundings.disk.open()),
      log_(std::make_unique<ReceiverLog>(surroundings.story)),
      stop_(std::make_unique<Stop>()) {
  machine_.add(stop_->interrupt.fd(), *stop_);
  // With so little nothing is buffered.
  constexpr std::uint64_t kLittle = (std::uint64_t{20} << 20) * 8 / 7 + (64 << 10);
  if (options.compression.method == codec::Method::none && world_.random.one_in(4))
    machine_.set_memory_limit({kLittle, "the simulation"});
}

SimReceiver::~SimReceiver() = default;

std::optional<Error> SimReceiver::run() {
  world_.scheduler.run(
      "receiver", [this] { receive(); },
      [this](std::optional<receive::Time> idle_until) {
        if (!world_.tick(idle_until) || stop_->raised) return;
        world_.story.tell("a signal asks it to stop");
        stop_->raised = true;
        stop_->interrupt.raise();
        servers_.stop();
      });
  return result_;
}

void SimReceiver::receive() {
  receive::Environment environment{
      .directory = *directory_,
      .stop = stop_->interrupt,
      .log = *log_,
      .feed = feed_,
      .board = board_,
      .seed = seed_,
      .durability_lost = [](const Error& error) { throw ProcessDied{error}; },
      .downstream = &downstream_,
      .store = &store_word_,
      .machine = machine_,
      .servers = servers_,
      .scale = {.unsynced_limit = kUnsyncedLimit,
                .catch_up_bytes = 3 * kSegmentBytes / 4,
                .largest_buffered = seed_ % 3 == 0 ? kSegmentBytes / 4 : kSegmentBytes}};
  const auto listening = feed_.subscribe([this](const receive::Event& happened) {
    receive::on(
        happened, [this](const receive::event::Trouble& told) { trouble(told.error); },
        [this](const receive::event::DurableEnd& durable) {
          world_.upstream.on_durable(durable.end);
          world_.ledger.on_durable(durable.timeline, durable.end);
          if (streams_) streams_ = archive::DurableEnd{durable.timeline, durable.end};
        },
        [this](const receive::event::StreamRuns& stream) {
          streams_.reset();
          if (!stream.runs) return;
          hear_durable(board_.view().stream.value());
          streams_ = told_durable_;
        },
        [this](const receive::event::Progress& progress) { hear_durable(progress.snapshot); },
        [this](const receive::event::LossRecorded& recorded) {
          const auto& loss = recorded.loss;
          world_.story.tell("recorded {} to {}: {}", loss.id(), loss.end, loss.cause);
          if (loss.cause.starts_with("accepted"))
            world_.ledger.on_hole_accepted({loss.begin, loss.end});
        });
  });
  environment.archive_taken = [this] {
    has_archive_ = true;
    return std::shared_ptr<void>(this, [](SimReceiver* self) { self->has_archive_ = false; });
  };
  try {
    receive::receive(options_, environment);
  } catch (const net::Interrupted&) {
  } catch (const Error& error) {
    if (error.message().starts_with("another process"))
      throw Violation{"P5", "the lock of a process that is gone is still held"};
    result_ = error;
  }
  if (world_.ended) world_.ended();
}

void SimReceiver::hear_durable(const receive::StreamSnapshot& told) {
  told_durable_ = archive::DurableEnd{told.timeline, told.flush};
}

void SimReceiver::tell_of_holes() {
  board_.update([this](const receive::ReceiverView& view) {
    for (const auto& loss : view.losses)
      if (loss.kind == archive::Loss::Kind::hole && loss.cause.starts_with("accepted"))
        world_.ledger.on_hole({loss.begin, loss.end});
  });
}

bool SimReceiver::could_stay() const {
  const auto streamed = servers_.streamed_host();
  if (!streamed) return false;
  const auto hosts = board_.read().hosts;
  return std::any_of(hosts.begin(), hosts.end(), [&](const receive::HostVerdict& host) {
    return static_cast<std::size_t>(host.index) == *streamed &&
           host.eligibility == receive::Eligibility::eligible;
  });
}

bool SimReceiver::waits_for_silent_host() {
  const auto taken = [](const receive::HostVerdict& host) { return host.taken; };
  const auto silent = [](const receive::HostVerdict& host) {
    return host.eligibility == receive::Eligibility::unresponsive;
  };
  bool waits = false;
  // (Asked at each step: a copy of the whole view would cost more than the step.)
  board_.update([&](const receive::ReceiverView& view) {
    waits = std::none_of(view.hosts.begin(), view.hosts.end(), taken) &&
            std::any_of(view.hosts.begin(), view.hosts.end(), silent);
  });
  return waits;
}

void SimReceiver::trouble(const Error& error) const {
  if (error.kind() == ErrorKind::damage && error.message().starts_with("the WAL that the server") &&
      !world_.ledger.damage_was_sent() && !world_.upstream.other_wal())
    throw Violation{"P7", fmt::format("sound WAL is refused: {}", error.what())};
}

}  // namespace weir::sim
