#include "sim_store_feed.h"

#include <utility>

#include "sim_receiver.h"

namespace weir::sim {

using namespace std::chrono_literals;

SimStoreFeed::SimStoreFeed(const Habits& habits, std::unique_ptr<io::Directory> archive,
                           SimStore& store, receive::Feed& feed, const receive::StatusBoard& board,
                           Scheduler& scheduler, Story& story)
    : habits_(habits),
      archive_(std::move(archive)),
      store_(store),
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
               .seed = habits.seed,
               .on_sent =
                   [this](const store::UploadItem& item) {
                     story_.tell("counts as sent: {}", item.to_string());
                     if (item.segment) store_.on_counted(*item.segment);
                   },
               .durability_lost =
                   [&scheduler](const Error& error) {
                     scheduler.die(std::make_exception_ptr(ProcessDied{error}));
                   }},
              scheduler, story),
      listening_(feed.subscribe([this](const receive::Event& happened) { on_event(happened); })) {
  scheduler.start_beside(SimStore::kKeeper, [this] { follow_.run(); });
}

bool SimStoreFeed::settled() const {
  const auto view = follow_.view();
  return view.pending_segments == 0 && view.pending_histories == 0;
}

void SimStoreFeed::on_event(const receive::Event& happened) {
  receive::on(
      happened,
      [this](const receive::event::SegmentFinished& finished) {
        if (!habits_.compresses) follow_.finished(finished.segment);
      },
      [this](const receive::event::SegmentCompressed& compressed) {
        follow_.finished(compressed.segment);
      },
      [this](const receive::event::NotCompressed& kept) { follow_.finished(kept.segment); },
      [this](const receive::event::Streaming&) { follow_.look_soon(); },
      [this](const receive::event::TimelineSwitched&) { follow_.look_soon(); });
}

}  // namespace weir::sim
