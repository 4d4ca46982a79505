#include "sim_store_feed.h"

#include <utility>

#include "sim_receiver.h"

namespace weir::sim {

using namespace std::chrono_literals;

/// A receiver has told something that was not handed over.
class SimStoreFeed::SomethingTold final : public Scheduler::Ready {
 public:
  explicit SomethingTold(const SimStoreFeed& feed) : feed_(feed) {}
  bool ready() override { return !feed_.told_.empty(); }

 private:
  const SimStoreFeed& feed_;
};

SimStoreFeed::SimStoreFeed(const Habits& habits, std::unique_ptr<io::Directory> archive,
                           SimStore& store, receive::Feed& feed, const receive::StatusBoard& board,
                           receive::StoreWords& word, Scheduler& scheduler, Story& story)
    : habits_(habits),
      archive_(std::move(archive)),
      store_(store),
      word_(word),
      scheduler_(scheduler),
      story_(story),
      follow_(*archive_, store, store.layout(),
              {.store_name = "simulated",
               .shown_name = store.name(),
               .jobs = habits.jobs,
               .look_every = habits.look_every,
               .raw_settles = habits.compresses,
               .raw_will_change = [&board] { return board.read().to_compress > 0; },
               .resume_every = 2s,
               .audit_every = habits.audit_every,
               .keep_local = habits.keep_local,
               .keep_every = 100ms,
               .open_every = habits.open_every,
               .durable_end = [this] { return durable_; },
               .seed = habits.seed,
               .on_sent =
                   [this](const store::UploadItem& item) {
                     story_.tell("counts as sent: {}", item.to_string());
                     if (item.segment) store_.on_counted(*item.segment);
                   },
               .on_stored_end =
                   habits.confirm_stored
                       ? std::function([this](const store::StoredEnd::Position& end) { take(end); })
                       : nullptr,
               .server_keeps = habits.confirm_stored,
               .durability_lost =
                   [&scheduler](const Error& error) {
                     scheduler.die(std::make_exception_ptr(ProcessDied{error}));
                   }},
              scheduler, story),
      listening_(feed.subscribe([this](const receive::Event& happened) { on_event(happened); })) {
  scheduler.start_beside(SimStore::kKeeper, [this] { follow_.run(); });
  scheduler.start_beside("store news", [this] { hand_over(); });
}

bool SimStoreFeed::settled() const {
  const auto view = follow_.view();
  return told_.empty() && view.pending_segments == 0 && view.pending_histories == 0;
}

/// As the program has it: of two threads that tell at once an older word changes nothing.
void SimStoreFeed::take(const store::StoredEnd::Position& position) {
  word_.change([&](receive::StoreWord& told) {
    if (std::pair(position.timeline, position.end) < std::pair(told.timeline, told.stored)) return;
    told.timeline = position.timeline;
    told.stored = position.end;
  });
}

/// Called under Feed's lock, which is the machine's below: nobody may wait for a simulated one
/// here.
void SimStoreFeed::on_event(const receive::Event& happened) {
  const auto finished = [this](wal::SegmentName segment) {
    told_.push_back([this, segment] { follow_.finished(segment); });
  };
  receive::on(
      happened,
      [&](const receive::event::DurableEnd& end) {
        durable_ = archive::DurableEnd{end.timeline, end.end};
      },
      [&](const receive::event::SegmentFinished& raw) {
        if (!habits_.compresses) finished(raw.segment);
      },
      [&](const receive::event::SegmentCompressed& compressed) { finished(compressed.segment); },
      [&](const receive::event::NotCompressed& kept) { finished(kept.segment); },
      [&](const receive::event::Streaming& stream) {
        told_.push_back([this, begun = store::StoredEnd::Stream{stream.timeline, stream.start}] {
          follow_.stream_begins(begun);
        });
      },
      [&](const receive::event::TimelineSwitched&) {
        told_.push_back([this] { follow_.look_soon(); });
      });
}

void SimStoreFeed::hand_over() {
  for (;;) {
    SomethingTold something(*this);
    scheduler_.wait(&something, std::nullopt);
    while (!told_.empty()) {
      const auto next = std::move(told_.front());
      told_.pop_front();
      next();
    }
  }
}

}  // namespace weir::sim
