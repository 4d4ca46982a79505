#include "cli/runtime/store_feed.h"

#include <exception>
#include <utility>

#include "base/random.h"
#include "cli/options/store_options.h"
#include "cli/shared/stored_archive.h"

namespace weir::cli {

namespace {

using namespace std::chrono_literals;

std::function<void(const store::StoredEnd::Position&)> tells(receive::StoreWords& word) {
  return [&word](const store::StoredEnd::Position& position) {
    word.change([&](receive::StoreWord& told) {
      // (Two threads may report at once. An archive continues on later timelines only.)
      if (std::pair(position.timeline, position.end) < std::pair(told.timeline, told.stored))
        return;
      told.timeline = position.timeline;
      told.stored = position.end;
    });
  };
}

/// Interval for finding imported or older files: all others are announced.
constexpr auto kListEvery = 60s;

}  // namespace

StoreFeed::StoreFeed(const StoreRequest& request, bool compresses, io::Directory& archive,
                     receive::Feed& feed, receive::StatusBoard& board, receive::StoreWords& word,
                     Log& log, std::function<void(const Error&)> durability_lost)
    : board_(board),
      compresses_(compresses),
      opened_(
          request.store, [this] { return stop_.load(); }, log),
      follow_(
          archive, opened_.store(), opened_.layout(),
          {.store_name = opened_.identity(),
           .shown_name = opened_.store().name_of(opened_.layout().own_key("")),
           .jobs = request.store.jobs,
           .sealing = sealing_for(request.store, archive.path()),
           .compression = request.store.compression,
           .manifest_key = request.store.manifest_key,
           .look_every = kListEvery,
           .raw_settles = compresses,
           .raw_will_change = [&board] { return board.read().to_compress > 0; },
           .keep_local = request.keep_local,
           .open_every = request.open_every,
           .durable_end =
               [this] {
                 const std::lock_guard lock(durable_mutex_);
                 return durable_;
               },
           .priority = Threads::Priority::low,
           .seed = random_bits(),
           .on_sent =
               [&feed](const store::UploadItem& item) {
                 feed.publish(receive::event::Stored{item.to_string()});
               },
           .on_trouble =
               [&feed](const Error& error) { feed.publish(receive::event::StoreTrouble{error}); },
           .on_works = [&feed] { feed.publish(receive::event::StoreWorks{}); },
           .on_stored_end = request.confirm_stored ? tells(word) : nullptr,
           .server_keeps = request.confirm_stored,
           .durability_lost = std::move(durability_lost)},
          machine_threads(), log),
      listening_(feed.subscribe([this](const receive::Event& happened) { on_event(happened); })),
      thread_(machine_threads().start(
          "store",
          [this, &log] {
            try {
              follow_.run();
            } catch (const std::exception& error) {  // no memory: archiving continues
              log.error("nothing is sent to the store until the next start: {}", error.what());
            }
          },
          Threads::Priority::low)) {
  board_.set_store([this] { return follow_.view(); });
}

StoreFeed::~StoreFeed() {
  stop_ = true;
  follow_.stop();
  thread_->join();
  board_.set_store(nullptr);
}

void StoreFeed::on_event(const receive::Event& happened) {
  receive::on(
      happened,
      // (Called under the stream's lock, so it does nothing else.)
      [this](const receive::event::DurableEnd& end) {
        const std::lock_guard lock(durable_mutex_);
        durable_ = archive::DurableEnd{end.timeline, end.end};
      },
      [this](const receive::event::SegmentFinished& finished) {
        if (!compresses_) follow_.finished(finished.segment);
      },
      [this](const receive::event::SegmentCompressed& compressed) {
        follow_.finished(compressed.segment);
      },
      [this](const receive::event::NotCompressed& kept) { follow_.finished(kept.segment); },
      [this](const receive::event::Streaming& stream) {
        follow_.stream_begins({stream.timeline, stream.start});
      },
      [this](const receive::event::TimelineSwitched&) { follow_.look_soon(); });
}

}  // namespace weir::cli
