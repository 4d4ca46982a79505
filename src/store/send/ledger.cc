#include "store/send/ledger.h"

#include <utility>

namespace weir::store {

Ledger::Ledger(io::Directory& archive, ObjectStore& store, const Layout& layout, Options options,
               Log& log)
    : archive_(archive),
      store_(store),
      layout_(layout),
      options_(std::move(options)),
      log_(log),
      home_(archive) {}

const Mark& Ledger::start(const archive::Identity& cluster) {
  auto start = starting_mark(archive_, options_.store_name, cluster, log_);
  written_ = std::move(start.mark);
  remembered_ = std::move(start.manifest);
  cluster_ = cluster;
  if (start.unmarked) keep_first_mark();
  return written_;
}

/// A full disk does not prevent uploads, which may make room.
void Ledger::keep_first_mark() {
  try {
    keep_mark(home_, written_);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.warning(
        "could not write {}: until the first upload, \"pgweir prune\" does not keep WAL that is "
        "not uploaded: {}",
        kMarkName, error.what());
  }
}

void Ledger::open_further() {
  if (!conditions_) {
    conditions_ = tell_conditions(store_, layout_, options_.seed, log_);
    return;
  }
  if (!place_is_ours_) {
    if (!place_)
      place_.emplace(
          store_, layout_,
          ClusterRecord{cluster_->system_identifier, cluster_->segment_size, layout_.form()});
    place_->require(*conditions_);
    place_is_ours_ = true;
    was_emptied_ = place_->was_absent() && !written_.empty();
    place_.reset();
    return;
  }
  ManifestWriter manifest(store_, layout_, options_.manifest_key, log_, *conditions_);
  manifest.start(remembered_, new_manifest_id());
  manifest_.emplace(std::move(manifest));
}

void Ledger::add(std::vector<ManifestEntry> lines) {
  for (auto& line : lines) manifest_->append(std::move(line));
}

void Ledger::keep(const Mark& mark) {
  PGWEIR_CHECK(!manifest_->due());
  keep_mark(home_, mark, manifest_->memory());
  written_ = mark;
}

}  // namespace weir::store
