#include "cli/publish_open.h"

#include <fmt/format.h>

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "archive/border.h"
#include "archive/home.h"
#include "archive/identity.h"
#include "archive/published_open.h"
#include "archive/segment_reader.h"
#include "archive/timelines.h"
#include "base/exit_status.h"
#include "base/random.h"
#include "base/units.h"
#include "cli/help.h"
#include "cli/options/connection_options.h"
#include "cli/options/store_options.h"
#include "cli/shared/ask_archive.h"
#include "cli/shared/stored_archive.h"
#include "codec/names.h"
#include "io/owner.h"
#include "io/posix_directory.h"
#include "net/wake.h"
#include "pq/commands.h"
#include "pq/connection.h"
#include "pq/conninfo.h"
#include "pq/ping.h"
#include "receive/status_socket.h"
#include "restore/archives.h"
#include "restore/partial.h"
#include "status/view_json.h"
#include "store/insist.h"
#include "store/sealed/compare_key.h"
#include "store/send/publish_open.h"
#include "store/send/same_cluster.h"
#include "store/send/still_there.h"
#include "store/send/upload_start.h"
#include "wal/transaction_end.h"

namespace weir::cli {

namespace {

/// The archive, and what is open in it.
struct Open {
  io::Shelf& shelf;
  archive::Listing listing;
  archive::Identity cluster;
  archive::Timelines timelines;
  wal::SegmentName segment;
};

std::optional<Open> look_at(io::Shelf& shelf) {
  auto listing = archive::list_archive_names(shelf);
  auto cluster = archive::read_identity(shelf, listing);
  if (!cluster) return std::nullopt;
  const auto segment = store::open_segment(listing, cluster->segment_size);
  if (!segment) return std::nullopt;
  auto timelines = archive::Timelines::read(shelf, listing);
  return Open{shelf, std::move(listing), std::move(*cluster), std::move(timelines), *segment};
}

std::unique_ptr<io::Directory> open_published_archive(const std::string& path) {
  auto directory = io::open_existing_directory(path);
  io::keep_owner(*directory);
  archive::require_not_a_server_directory(*directory);
  archive::require_some_wal(archive::list_archive_names(*directory), path,
                            io::what_is_nearby(path));
  return directory;
}

/// A receiver that waits for an unavailable server does not stream.
bool is_streaming(const std::string& path) {
  const auto answer = receive::StatusSocket::ask(path);
  if (!answer) return false;
  const auto view = status::receiver_of(*answer, std::chrono::system_clock::now());
  return view && view->is_streaming();
}

store::AskedHost ask_host(const std::string& conninfo, std::size_t number, const Open& open,
                          const std::optional<std::string>& slot) {
  store::AskedHost asked{.host = pq::hosts_of(conninfo)[number].to_string()};
  try {
    const net::Wake never;
    auto connection = pq::Connection::open({.conninfo = conninfo,
                                            .replication = pq::Replication::physical,
                                            .first_host = number,
                                            .only_first_host = true,
                                            .any_role = true},
                                           never);
    const auto there = pq::identify_system(connection);
    const bool ours = there.system_identifier == open.cluster.system_identifier;
    const auto state = slot && ours ? pq::read_replication_slot(connection, *slot)
                                    : std::optional<pq::SlotState>();
    asked.server = {there.system_identifier, there.timeline, state && state->exists};
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::usage) throw;
    asked.why = error.message();
    asked.answers = pq::answers(conninfo, number);
  }
  return asked;
}

void require_no_server(const Arguments& arguments, const Open& open) {
  if (!arguments.has(kDbname) && !arguments.has(kHost))
    throw Error(ErrorKind::usage, "no servers specified that must be down")
        .hint(
            "Name all servers of the cluster with -d or in the archive's configuration, or use "
            "--primary-is-gone.");
  const auto conninfo = conninfo_of(arguments);
  const auto slot = arguments.get(kSlot);
  for (std::size_t i = 0; i < pq::hosts_of(conninfo).size(); ++i)
    store::require_gone(ask_host(conninfo, i, open, slot), open.cluster, open.segment, slot);
}

// Reads the durable WAL.

store::PaddedSegment read_open(const Open& open, Log& log) {
  const auto& size = open.cluster.segment_size;
  const auto start = open.segment.start(size);
  store::PaddedSegment padded{.segment = open.segment, .end = start};
  io::Shelf* shelf = &open.shelf;
  const restore::Options options{.partial = true,
                                 .system_identifier = open.cluster.system_identifier,
                                 .durable_end = durable_end_of};
  restore::Archives archives(restore::Shelves(&shelf, 1), options, log);
  auto found = restore::find_partial(archives, open.segment, size, durable_end_of);
  if (!found || found->cut <= start) return padded;
  if (found->damage) {
    throw Error(ErrorKind::damage, "the partial segment is damaged")
        .with("file", archives.path_of(found->copy))
        .with("what", found->damage->message())
        .with("valid up to", found->cut)
        .hint(
            "Check whether another archive has it intact. \"pgweir restore --partial-damaged\" "
            "restores the WAL before the damage; nothing is published.");
  }
  if (!found->checked)
    throw Error(ErrorKind::refused,
                "the partial segment is of a PostgreSQL version that this pgweir does not support")
        .with("file", archives.path_of(found->copy))
        .hint("The end of its last record cannot be determined. Use a newer pgweir.");
  const auto keep = found->cut - start;
  padded.wal.reserve(size.bytes());
  archive::read_segment(*shelf, found->copy.name, size, [&](std::span<const std::byte> wal) {
    const auto count = std::min<std::uint64_t>(wal.size(), keep - padded.wal.size());
    padded.wal.insert(padded.wal.end(), wal.begin(),
                      wal.begin() + static_cast<std::ptrdiff_t>(count));
    return padded.wal.size() < keep;
  });
  // Once more, with the preceding WAL: a record that crosses the boundary has its checksum there.
  const auto history = open.timelines.history(open.segment.timeline());
  wal::TransactionObserver transactions([&](const wal::TransactionEnd& end) {
    if (!end.aborted) padded.commit = end.commit.time;
    return true;
  });
  auto verifier = archive::verifier_at(*shelf,
                                       {.segment_size = size,
                                        .timeline = open.segment.timeline(),
                                        .system_identifier = open.cluster.system_identifier,
                                        .observer = &transactions,
                                        .history = history ? &*history : nullptr},
                                       start);
  if (const auto damage = verifier.feed(padded.wal); damage || padded.wal.size() != keep)
    throw Error(ErrorKind::damage, "the partial segment does not continue the WAL before it")
        .with("file", archives.path_of(found->copy))
        .with("what", damage ? damage->what : std::string("it became shorter"))
        .with("at", damage ? damage->at : found->cut)
        .hint("Nothing was published. Run \"pgweir verify\" on the archive.");
  padded.end = found->cut;
  padded.first = verifier.first_record_start();
  padded.wal.resize(size.bytes());
  return padded;
}

/// The format of the preceding segments, so that their readers can read it, too.
codec::Compression form_of(const archive::Listing& listing) {
  auto method = codec::Method::none;
  for (const auto& entry : listing.segments)
    if (!entry.name.partial) method = entry.name.method;
  return codec::usual_compression(method);
}

/// An encrypted segment must be comparable with the real segment that later replaces it.
store::Sealing sealing_of(const store::StoreOptions& options,
                          const std::optional<std::string>& path) {
  if (options.recipients.empty()) return {};
  if (path) return sealing_for(options, *path);
  if (!options.manifest_key)
    throw Error(ErrorKind::usage, "publishing an encrypted segment requires a key for comparison")
        .hint(
            "Give --manifest-key FILE or -D DIRECTORY: without a key, the complete segment could "
            "never replace it.");
  return {.recipients = options.recipients,
          .compare_key = store::compare_key_of(*options.manifest_key)};
}

}  // namespace

int publish_open(const Arguments& arguments, const store::StoreOptions& options) {
  // Without a directory: what the store has of the open segment itself.
  const auto path = arguments.get(kDirectory);
  const auto sealing = sealing_of(options, path);
  const auto directory = path ? open_published_archive(*path) : nullptr;
  const auto stored = path ? nullptr : open_stored_archive(arguments, nullptr);
  StoreLog log;
  const auto open = look_at(path ? static_cast<io::Shelf&>(*directory) : stored->shelf());
  const bool forced = arguments.has(kPrimaryIsGone);
  if (open && !forced) {
    if (path) store::require_no_stream(is_streaming(*path), *path);
    require_no_server(arguments, *open);
  }
  const auto padded = open ? std::optional(read_open(*open, log)) : std::nullopt;
  if (!padded || padded->wal.empty()) {
    print(
        "there is no WAL after the last complete segment: readers of complete segments have "
        "all WAL\n");
    return kDone;
  }

  store::OpenStore opened(options, nullptr, log);
  auto& store = opened.store();
  const auto& layout = opened.layout();
  const auto conditions = store::tell_conditions(store, layout, random_bits(), log);
  store::SameCluster place(
      store, layout, {open->cluster.system_identifier, open->cluster.segment_size, layout.form()});
  store::insist({.seed = random_bits()}, [&] { place.require(conditions); });
  store::require_what_is_before(store, layout, open->segment, open->cluster.segment_size,
                                open->timelines, open->listing);
  const auto form = options.compression.value_or(form_of(open->listing));
  const auto done =
      store::publish_open({store, layout, conditions, open->cluster, form, sealing}, *padded,
                          {.segment = open->segment,
                           .end = padded->end,
                           .object = {},
                           .time = format_time(std::chrono::system_clock::now()),
                           .forced = forced},
                          [&](const archive::PublishedOpen& record) {
                            if (!directory) return;  // the store's own record is all there is then
                            archive::DirectoryHome home(*directory);
                            archive::record_published_open(home, record);
                          });
  using What = store::Publication::What;
  switch (done.what) {
    case What::stored:
    case What::extended:
      print(fmt::format("published {} up to {} as {}{}\n", padded->segment, padded->end,
                        done.object,
                        done.what == What::extended ? ", replacing a shorter one" : ""));
      break;
    case What::was_there:
      print(fmt::format("{} had already been published: {}\n", padded->segment, done.object));
      break;
    case What::true_there:
      print(fmt::format("the complete {} is already in the store: {}\n", padded->segment,
                        done.object));
      break;
  }
  if (!done.compared) print("it is encrypted, and was not compared with the local WAL\n");
  if (done.entry && !store::tell_published(store, layout, *done.entry, options.manifest_key,
                                           {.seed = random_bits()}, log))
    log.warning(
        "{} is not listed in the manifest: the manifest is signed, and no key was given to sign "
        "the line; run publish-partial with --manifest-key to add it",
        done.object);
  return kDone;
}

}  // namespace weir::cli
