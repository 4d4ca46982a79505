#include "cli/shared/stored_archive.h"

#include <fmt/format.h>
#include <sys/prctl.h>

#include <chrono>
#include <utility>

#include "base/random.h"
#include "cli/options/store_options.h"
#include "cli/print_stderr.h"
#include "store/cluster_record.h"
#include "store/insist.h"
#include "store/ledger/manifest_reader.h"

namespace weir::cli {

namespace {

/// Ends with the store's own error, and not because of the time limit.
constexpr std::chrono::milliseconds kBriefly{4'000};

}  // namespace

void StoreLog::write(LogLevel level, std::string_view message) {
  print_stderr("pgweir: {}{}\n", level == LogLevel::warning ? "warning: " : "", message);
}

StoredArchive::StoredArchive(const store::StoreOptions& options, std::function<bool()> stop)
    : jobs_(options.jobs),
      patience_({.retry_for = options.answer_within ? kBriefly : store::Patience().retry_for,
                 .seed = random_bits()}),
      opened_(options, std::move(stop), log_),
      shelf_([this]() -> store::ObjectStore& { return opened_.store(); },
             opened_.store().name_of(opened_.layout().wal_prefix()), opened_.layout(), patience_, 1,
             options.identities) {}

void StoredArchive::hide_pruned(std::span<const store::SignifyPublic> keys) {
  // Cached: what is removed later is in it, and what was removed before was recorded before.
  static_cast<void>(shelf_.list());
  shelf_.hide_before(store::read_begins(opened_.store(), opened_.layout(), keys, patience_));
}

std::optional<archive::Identity> StoredArchive::told_identity() {
  const auto cluster = store::insist(
      patience_, [&] { return store::read_cluster(opened_.store(), opened_.layout()); });
  if (!cluster) return std::nullopt;
  return archive::Identity{cluster->system_identifier, cluster->segment_size, "pgweir.json"};
}

std::unique_ptr<StoredArchive> open_stored_archive(const Arguments& arguments,
                                                   std::function<bool()> stop) {
  forbid_core_files();
  return std::make_unique<StoredArchive>(store_options_of(arguments), std::move(stop));
}

std::unique_ptr<StoredArchive> open_stored_archive_briefly(const Arguments& arguments) {
  constexpr std::chrono::seconds kAnswerWithin(5);
  forbid_core_files();
  auto options = store_options_of(arguments);
  options.answer_within = kAnswerWithin;
  return std::make_unique<StoredArchive>(options, nullptr);
}

void forbid_core_files() { ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); }

}  // namespace weir::cli
