#include <chrono>
#include <utility>

#include "store/send/follow.h"

namespace weir::store {

/// The store's state is needed even if no file is complete yet.
bool Follow::needs_tools() const { return options_.on_stored_end || options_.open_every; }

/// Sends the flushed part of the segment that is being written.
void Follow::send_open() {
  if (!open_segment_ || threads_.now() < next_open_) return;
  std::shared_ptr<const Tools> tools;
  Mark mark;
  {
    const Threads::Lock lock(*mutex_);
    tools = tools_;
    mark = plan_->mark();
  }
  next_open_ = threads_.now() + *options_.open_every;
  if (!tools) return;
  const auto durable = options_.durable_end ? options_.durable_end() : std::nullopt;
  // Without its history no recovery could follow it.
  if (durable && (durable->timeline == 1 || mark.has_history(durable->timeline))) {
    try {
      send_open(*durable, *tools);
    } catch (const StoreError&) {
      throw;
    } catch (const Error& error) {  // complete files are sent anyway
      if (error.kind() == ErrorKind::durability) throw;
      note(error);
    }
  }
  const auto kept = open_segment_->tidy_up(mark);
  if (!kept.empty() && !std::exchange(told_kept_open_, true))
    log_.warning(
        "older objects of the open segment stay in the store: {}; give the keys the right to "
        "remove "
        "what lies below open/, or let a lifecycle rule remove it",
        kept);
}

void Follow::send_open(const archive::DurableEnd& durable, const Tools& tools) {
  const auto sent = open_segment_->send(durable, tools.cluster, tools.timelines);
  if (!sent) return;
  note_success();
  {
    const Threads::Lock lock(*mutex_);
    stored_end_.on_open(sent->segment, sent->end);
    view_.open_lsn = sent->end;
    view_.open_sent = std::chrono::system_clock::now();
    view_.sent_bytes += sent->bytes;
    ++view_.open_objects;
  }
  tell_stored_end();
}

}  // namespace weir::store
