// An archive may have a million segments. Names are processed as they are read
// (`io/entry_reader.h`), sorted as numbers, and visited segment by segment (`archive/forms.h`). A
// start reads them once (`receive/known_names.h`) and uses them for ten seconds, as long as the
// kernel, where inotify is set up before they are read, reports no change. Without notification,
// each check reads them.

#include "receive/known_names.h"

#include "io/entry_reader.h"

namespace weir::receive {

namespace {

using namespace std::chrono_literals;

/// The kernel does not report changes by other hosts, and not every such file system is known.
constexpr auto kBelieved = 10s;

}  // namespace

KnownNames::KnownNames(io::Directory& directory, Machine& machine)
    : directory_(directory), machine_(machine) {}

KnownNames::~KnownNames() = default;

std::shared_ptr<const archive::Listing> KnownNames::read() {
  if (still_true()) {
    // Other holders keep their snapshot.
    if (listing_.use_count() > 1) listing_ = std::make_shared<archive::Listing>(*listing_);
    archive::measure_partials(directory_, *listing_);
    return listing_;
  }
  forget();
  // Before they are read, so that changes during that are reported.
  watch_ = io::watch_names(directory_);
  const auto begin = machine_.now();
  auto listing = std::make_shared<archive::Listing>(archive::list_archive_names(directory_));
  if (watch_) {
    listing_ = listing;
    read_at_ = begin;
  }
  return listing;
}

void KnownNames::forget() {
  watch_.reset();
  listing_.reset();
}

bool KnownNames::still_true() {
  return listing_ && watch_ && machine_.now() < read_at_ + kBelieved && !watch_->changed();
}

}  // namespace weir::receive
