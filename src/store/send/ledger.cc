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
  emptied_ = std::exchange(written_.emptied, false);
  remembered_ = std::move(start.manifest);
  cluster_ = cluster;
  if (start.unmarked) keep_first_mark([this] { write(written_); });
  if (start.former)
    keep_first_mark([&] { keep_mark(home_, *start.former, start.former_manifest); });
  return written_;
}

/// A full disk does not prevent uploads, which may make room.
void Ledger::keep_first_mark(const std::function<void()>& keep) {
  try {
    keep();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.warning(
        "could not write {}: until the first upload, \"pgweir prune\" does not keep WAL that is "
        "not uploaded: {}",
        kMarkName, error.what());
  }
}

void Ledger::write(const Mark& mark) {
  auto all = mark;
  all.emptied = emptied_;
  keep_mark(home_, all, remembered_.value_or(ManifestMemory()));
}

void Ledger::place_was_emptied() {
  if (!written_.empty() && !std::exchange(emptied_, true)) write_emptied();
}

/// If the mark on disk has more, keep() writes it.
void Ledger::place_is_whole(const Mark& mark) {
  if (std::exchange(emptied_, false) && mark == written_) write_emptied();
}

void Ledger::write_emptied() {
  try {
    write(written_);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::durability) throw;
    log_.warning("could not record in {} {}: {}", kMarkName,
                 emptied_ ? "that the store was emptied" : "that the store is complete again",
                 error.what());
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
    place_->require(*conditions_, [this] { place_was_emptied(); });
    place_is_ours_ = true;
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
  remembered_ = manifest_->memory();
  write(mark);
  written_ = mark;
}

}  // namespace weir::store
