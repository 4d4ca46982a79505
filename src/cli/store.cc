#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "archive/home.h"
#include "base/exit_status.h"
#include "base/threads.h"
#include "base/units.h"
#include "cli/arguments.h"
#include "cli/commands.h"
#include "cli/common_options.h"
#include "cli/connection_options.h"
#include "cli/help.h"
#include "cli/store_options.h"
#include "cli/stored_archive.h"
#include "daemon/progress_bar.h"
#include "daemon/stop_request.h"
#include "io/posix_directory.h"
#include "store/open_store.h"
#include "store/push.h"
#include "store/store_check.h"
#include "store/store_files.h"

namespace weir::cli {

namespace {

constexpr std::chrono::milliseconds kPatience{60'000};

constexpr auto kRetryFor = option_of<time_value<>>(
    "retry-for", "TIME", "push: how long what may pass is tried again (default: 1min)");
constexpr Option kOptions[] = {kDirectory.says("push: the archive; check: compare it, too"),
                               kRetryFor, kNoProgress, kConfig, kHelp};

Error expected(const std::string& what) {
  return Error(ErrorKind::usage, what).hint("See \"pgweir store --help\".");
}

std::string files(std::size_t segments, std::size_t histories) {
  std::string text = fmt::format("{} segment{}", segments, segments == 1 ? "" : "s");
  if (histories > 0)
    text += fmt::format(" and {} histor{}", histories, histories == 1 ? "y" : "ies");
  return text;
}

/// The worst of several: what needs a person before what may pass.
int status_of(const std::vector<Error>& failures) {
  int status = kDone;
  for (const auto& failure : failures) status = std::max(status, exit_status(failure.kind()));
  return status;
}

int push(const Arguments& arguments, const store::StoreOptions& options) {
  const auto path = required_directory(arguments);
  const daemon::StopRequest stop;
  StoreLog log;
  const auto directory = io::open_existing_directory(path);
  store::OpenStore opened(
      options, [&] { return stop.made(); }, log);
  store::PushResult result;
  {
    daemon::ProgressBar bar("store push");
    store::PushOptions push_options{.store_name = opened.identity(),
                                    .jobs = options.jobs,
                                    .retry_for = arguments.get(kRetryFor, kPatience),
                                    .stop = [&] { return stop.made(); },
                                    .seed = random_number()};
    if (!arguments.has(kNoProgress))
      push_options.progress = [&](std::size_t done, std::size_t all) { bar.show(done, all); };
    result = store::push(*directory, opened.store(), opened.layout(), push_options,
                         machine_threads(), log);
  }
  for (const auto& failure : result.failures) print_error(failure);
  std::string text = fmt::format("sent {}, {}", files(result.segments, result.histories),
                                 format_size(result.bytes));
  if (result.were_there > 0) text += fmt::format("; {} were there already", result.were_there);
  if (result.pending > 0) text += fmt::format("; {} wait, from {} on", result.pending, result.next);
  print(text + "\n");
  if (result.stopped && result.failures.empty())
    throw Error(ErrorKind::retry, "stopped before everything was sent")
        .hint("Run the command again: it goes on from there.");
  return status_of(result.failures);
}

int list(const Arguments& arguments, const store::StoreOptions& options) {
  if (arguments.words().size() > 1) throw expected("store ls takes no name");
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  std::size_t count = 0;
  std::uint64_t bytes = 0;
  store::for_each_file(opened.store(), opened.layout(), [&](const store::StoredFile& file) {
    print(fmt::format("{:>12}  {}\n", file.object.size, file.name));
    ++count;
    bytes += file.object.size;
    return true;
  });
  fmt::print(stderr, "{} files, {}\n", count, format_size(bytes));
  return kDone;
}

int get(const Arguments& arguments, const store::StoreOptions& options) {
  const auto& words = arguments.words();
  if (words.size() != 3) throw expected("store get takes a name and a target");
  const auto& name = words[1];
  auto target = words[2];
  while (target.size() > 1 && target.ends_with('/')) target.pop_back();
  const auto slash = target.rfind('/');
  const auto directory = io::open_directory(slash == std::string::npos ? "."
                                            : slash == 0               ? "/"
                                                                       : target.substr(0, slash));
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  archive::DirectoryHome home(*directory);
  if (store::fetch_file(opened.store(), opened.layout(), name, home,
                        slash == std::string::npos ? target : target.substr(slash + 1)))
    return kDone;
  fmt::print(stderr, "pgweir: the store has no {}\n", name);
  return kNo;
}

int check(const Arguments& arguments, const store::StoreOptions& options) {
  if (arguments.words().size() > 1) throw expected("store check takes no name");
  StoreLog log;
  store::OpenStore opened(options, nullptr, log);
  store::StoreCheck result;
  const auto credentials = opened.credentials().get();
  result.findings.push_back(
      {store::StoreFinding::Level::good,
       fmt::format(
           "credentials from {}{}", credentials.source,
           credentials.expires ? ", until " + format_time(*credentials.expires) : std::string())});
  store::check_store(opened.store(), opened.layout(), random_number(), result);
  if (const auto path = arguments.get(kDirectory); path && result.all_good()) {
    const auto directory = io::open_existing_directory(*path);
    store::compare_archive(*directory, opened.store(), opened.layout(), opened.identity(), result);
  }
  using Level = store::StoreFinding::Level;
  for (const auto& finding : result.findings) {
    print(fmt::format("{:<7}  {}\n",
                      finding.level == Level::good      ? "ok"
                      : finding.level == Level::warning ? "warning"
                                                        : "FAILED",
                      finding.text));
    if (!finding.hint.empty()) print(fmt::format("         {}\n", finding.hint));
  }
  return result.all_good() ? kDone : kNo;
}

int store_command(const Arguments& arguments) {
  if (arguments.words().empty())
    throw Error(ErrorKind::usage, "what to do with the store?")
        .hint("push, ls, get or check; see \"pgweir store --help\".");
  forbid_core_files();
  const auto& verb = arguments.words().front();
  if (verb != "push" && verb != "ls" && verb != "get" && verb != "check")
    throw Error(ErrorKind::usage, fmt::format("unknown command \"store {}\"", verb))
        .hint("It can be push, ls, get or check.");
  const auto options = store_options_of(arguments);
  if (verb == "push") {
    if (arguments.words().size() > 1) throw expected("store push takes no name");
    return push(arguments, options);
  }
  if (arguments.on_command_line(kRetryFor))
    throw expected(fmt::format("store {} has no option --retry-for", verb));
  if (verb == "ls") return list(arguments, options);
  if (verb == "get") return get(arguments, options);
  return check(arguments, options);
}

constexpr OptionGroup kGroups[] = {{"Options:", kOptions},
                                   {"The store ([store] in a configuration file):", kStoreOptions}};

}  // namespace

constinit const Command kStoreCommand = {
    .name = "store",
    .summary = "send finished segments to an object store (S3)",
    .about = R"(pgweir store keeps a second copy of an archive in an object store that speaks
S3's protocol: AWS, Ceph, Swift, MinIO, R2, Google's interoperability.

Usage:
  pgweir store push  -D DIRECTORY --store s3://BUCKET/PREFIX [OPTION]...
  pgweir store ls    --store s3://BUCKET/PREFIX [OPTION]...
  pgweir store get   --store s3://BUCKET/PREFIX [OPTION]... NAME TARGET
  pgweir store check [-D DIRECTORY] --store s3://BUCKET/PREFIX [OPTION]...

  push    finished segments and histories that the store does not have: once,
          for cron, beside a receiver of any make. Each is checked before, and
          is written once: what the store has is never overwritten.
  ls      the segments and histories there, and their sizes
  get     one of them into a new file: a segment by its plain name unpacked and
          checked, by another name as it is stored
  check   tries all that push needs, with an object that is thrown away; with -D
          it says what of the archive is there, and what no longer is
)",
    .groups = kGroups,
    .notes = R"(Keys come from --store-credential-command, --store-credentials, AWS's variables
and files, a web identity, a container's or a machine's service, in this order.

Examples:
  pgweir store push -D /srv/wal --store s3://backup/pg \
      --store-endpoint https://s3.example.org --store-credentials keys
  pgweir -c /etc/pgweir/main.ini store check

Exit status: 0 done; 1 the store has no such file, or a check failed; 2 wrong
options, no keys; 3 may pass if tried again (no answer, too many requests);
4 needs a person (other WAL under a name, another cluster, no right, damage).
)",
    .most_words = 3,
    .run = store_command,
};

}  // namespace weir::cli
