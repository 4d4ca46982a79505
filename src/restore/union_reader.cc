#include "restore/union_reader.h"

#include "archive/forms.h"
#include "archive/segment_reader.h"
#include "base/error.h"
#include "restore/partial.h"
#include "restore/published.h"

namespace weir::restore {

using archive::WalReader;

UnionReader::UnionReader(Archives& archives, const Options& options)
    : archives_(archives), options_(options), left_out_(archives.count()) {
  open_readers();
}

void UnionReader::leave_out_unsound() {
  if (options_.unsound == nullptr || options_.unsound->size() == unsound_) return;
  unsound_ = options_.unsound->size();
  for (const auto& [archive, file] : *options_.unsound) left_out_.at(archive).insert(file);
  open_readers();
}

bool UnionReader::has_unsound(std::size_t archive, wal::SegmentName segment) const {
  if (options_.unsound == nullptr) return false;
  const auto first = options_.unsound->lower_bound({archive, segment.to_string()});
  return first != options_.unsound->end() && first->first == archive &&
         first->second.starts_with(segment.to_string());
}

void UnionReader::open_readers() {
  last_ = nullptr;
  finished_.clear();
  unfinished_.clear();
  for (std::size_t i = 0; i < archives_.count(); ++i) {
    WalReader::Options one{.segment_size = options_.segment_size,
                           .timeline = options_.timeline,
                           .history = options_.history,
                           .left_out = &left_out_[i]};
    if (options_.durable_end)
      one.durable_end = [ask = options_.durable_end, path = archives_.shelf(i).path()] {
        return ask(path);
      };
    finished_.push_back(std::make_unique<WalReader>(archives_.shelf(i), one));
    if (!options_.unfinished) continue;
    one.unfinished = true;
    one.ancestors_alone = archives_.several();
    unfinished_.push_back(std::make_unique<WalReader>(archives_.shelf(i), one));
  }
}

archive::WalSource::Read UnionReader::read(wal::Lsn at, std::span<std::byte> into) {
  leave_out_unsound();
  if (!archives_.several()) {
    last_ = (options_.unfinished ? unfinished_ : finished_).front().get();
    return last_->read(at, into);
  }
  failure_.reset();
  const auto segment = segment_at(at);
  // The last reader comes first: a file that is read sequentially is not reopened.
  if (last_ != nullptr)
    if (const auto file = last_->file(); file && file->segment == segment)
      if (auto read = read_from(*last_, last_archive_, at, into)) return *read;
  for (std::size_t i = 0; i < finished_.size(); ++i)
    if (auto read = read_from(*finished_[i], i, at, into)) return *read;
  if (options_.unfinished && !failure_)
    if (const auto i = longest(segment))
      if (auto read = read_from(*unfinished_[*i], *i, at, into)) return *read;
  return failure_.value_or(Read{});
}

std::optional<archive::WalSource::Padded> UnionReader::padded(wal::Lsn at) {
  const auto segment = segment_at(at);
  std::optional<Partial> published;
  try {
    published = find_published(archives_, segment);
  } catch (const Error& error) {
    // The caller then counts it as damaged.
    if (error.kind() != ErrorKind::damage && !archive::is_gone(error)) throw;
  }
  if (!published) return std::nullopt;
  // "restore --partial" delivers the longer one.
  const auto partial = options_.unfinished ? find_partial(archives_, segment, options_.segment_size,
                                                          options_.durable_end)
                                           : std::nullopt;
  const bool continues =
      partial && partial->cut > published->cut && !has_unsound(partial->copy.archive, segment);
  if (continues) {
    left_out_[published->copy.archive].insert(published->copy.name.to_string());
    open_readers();
  }
  return Padded{published->cut, continues};
}

/// nullopt if it has not these bytes: another one may.
std::optional<archive::WalSource::Read> UnionReader::read_from(WalReader& reader,
                                                               std::size_t archive, wal::Lsn at,
                                                               std::span<std::byte> into) {
  const auto segment = segment_at(at);
  if (archives_.silent(archive)) return std::nullopt;
  // Its partial file does not replace it.
  const bool unfinished = !unfinished_.empty() && &reader == unfinished_[archive].get();
  if (unfinished && has_unsound(archive, segment)) return std::nullopt;
  try {
    auto read = reader.read(at, into);
    if (read.state == State::gone) return std::nullopt;
    if (read.state == State::damaged) {
      if (!failure_) failure_ = std::move(read);
      return std::nullopt;
    }
    last_ = &reader;
    last_archive_ = archive;
    return read;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::retry) throw;
    // That one may be valid: damage of another one is not the result.
    if (!failure_ || failure_->error->kind() == ErrorKind::damage)
      failure_ = Read{State::damaged, 0, error};
    return std::nullopt;
  }
}

std::optional<std::size_t> UnionReader::longest(wal::SegmentName segment) {
  const auto known = longest_.find(segment);
  if (known != longest_.end()) return known->second;
  std::optional<std::size_t> archive;
  const auto best = find_partial(archives_, segment, options_.segment_size, options_.durable_end);
  if (best) archive = best->copy.archive;
  if (best && begins_a_timeline(segment)) {
    // Another archive's file of an ancestor may have more up to the switchpoint.
    auto reached = best->cut;
    for (std::size_t i = 0; i < unfinished_.size(); ++i) {
      if (archives_.silent(i)) continue;
      if (has_unsound(i, segment)) continue;
      const auto end = unfinished_[i]->unfinished_end(segment.start(options_.segment_size));
      if (!end || end->records <= reached) continue;
      reached = end->records;
      archive = i;
    }
  }
  return longest_[segment] = archive;
}

/// Within that segment, after its first byte.
bool UnionReader::begins_a_timeline(wal::SegmentName segment) const {
  if (!options_.history) return false;
  const auto begin = options_.history->begin_of(segment.timeline());
  return begin && *begin > segment.start(options_.segment_size) &&
         options_.segment_size.segno(*begin) == segment.segno(options_.segment_size);
}

std::optional<Copy> UnionReader::copy() const {
  if (last_ == nullptr) return std::nullopt;
  const auto file = last_->file();
  if (!file) return std::nullopt;
  return Copy{last_archive_, *file};
}

bool other_copy_exists(Archives& archives, wal::SegmentName segment,
                       const UnionReader::Unsound& unsound) {
  bool exists = false;
  archives.ask_each([&](std::size_t each) {
    for (const auto& name : archive::finished_names(segment))
      if (const auto file = name.to_string();
          !exists && !unsound.contains({each, file}) && archives.shelf(each).find(file))
        exists = true;
  });
  return exists;
}

}  // namespace weir::restore
