#include "restore/prefetcher.h"

#include <fcntl.h>  // check-includes: flags of /dev/null
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/error.h"
#include "io/posix_directory.h"
#include "io/small_file.h"
#include "net/listener.h"
#include "net/wake.h"
#include "restore/fetched.h"
#include "restore/handover.h"
#include "restore/open_archives.h"
#include "restore/prefetch_plan.h"

namespace weir::restore {

namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

/// The helper exits after this time without a request: recovery waits for something else.
constexpr auto kIdle = 30s;
/// The same if it has nothing to offer: the archive ends.
constexpr auto kIdleEmptyHanded = 2s;
/// Interval of progress messages to a waiting client, which gives up after kPatience without.
constexpr auto kSignOfLife = 500ms;
constexpr auto kPatience = 3s;
/// Maximum size of prefetched WAL, regardless of the segment size and --prefetch.
constexpr std::uint64_t kMostAhead = std::uint64_t{256} << 20;
/// Free space left to the server on the file system of its pg_wal, in segments.
constexpr std::uint64_t kSegmentsToLeave = 16;
constexpr std::size_t kMostClients = 16;
/// Number of segments that one listing of a store covers.
constexpr std::size_t kNamesAhead = 200;

/// A process, distinguished from a later one with the same PID.
struct Process {
  pid_t pid = 0;
  std::uint64_t started = 0;
};

struct Ahead {
  std::size_t most = 0;
  std::size_t at_once = 1;
};

class NoLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
  bool enabled(LogLevel) const override { return false; }
};

std::optional<Process> owner_of_recovery(const std::string& target_directory, bool without_server);
[[noreturn]] void become_helper(net::Listener address, const Process& owner, const Places& places,
                                wal::SegmentName segment, wal::SegmentSize size,
                                const std::string& target_directory, const Options& options,
                                const Ahead& ahead, std::chrono::milliseconds patience);

/// A single archive is identified by its directory. One of several may hang when it is accessed, so
/// they are identified by their paths, and each fetched file by itself.
Terms terms_of(const Places& places, Shelves archives, io::Shelf& target, const Options& options) {
  Terms terms{.target = io::identity_of_directory(target).value_or(io::FileIdentity{}),
              .system_identifier = options.system_identifier,
              .verify = options.verify,
              .first_sound = options.first_sound};
  if (places.count() == 1)
    terms.archive = io::identity_of_directory(*archives.front()).value_or(io::FileIdentity{});
  std::string all;
  for (const auto& name : places.names()) all += name + '\0';
  if (places.store && places.store->endpoint) all += places.store->endpoint->to_string();
  if (places.store)
    for (const auto& key : places.store->public_keys) all += '\0' + key.to_text();
  terms.paths = std::hash<std::string>()(all);
  return terms;
}

}  // namespace

Taken take_prefetched(const Places& places, wal::SegmentName segment,
                      const std::string& target_directory, const std::string& target_name,
                      const Options& options, std::chrono::milliseconds patience) noexcept {
  Taken taken;
  try {
    NoLog log;
    const OpenArchives from(places, patience, log);
    const auto to = io::open_directory(target_directory);
    // If one of several archives hangs the helper waits for it, once.
    const auto longest = places.count() == 1 && !places.store ? kPatience : kPatience + patience;
    auto reply = ask_for(segment, terms_of(places, from.shelves(), *to, options), longest);
    taken.helper_runs = reply.kind != Reply::Kind::nobody;
    if (reply.kind != Reply::Kind::here) return taken;
    taken.restored =
        accept_fetched(from.shelves(), *reply.fetched, *reply.content, *to, target_name, options);
    taken.silent = reply.fetched->silent;
  } catch (...) {
    // Any error that matters occurs again in the ordinary path, which reports it.
  }
  return taken;
}

void start_prefetcher(const Places& places, wal::SegmentName segment, wal::SegmentSize size,
                      const std::string& target_directory, const Options& options,
                      const Prefetch& prefetch, std::chrono::milliseconds patience) noexcept {
  try {
    const auto most = std::min<std::size_t>(prefetch.segments, kMostAhead / size.bytes());
    if (most == 0) return;
    const auto owner = owner_of_recovery(target_directory, prefetch.without_server);
    if (!owner) return;
    const auto target = io::open_directory(target_directory);
    // Taken before the fork: a second process starts no helper.
    auto address = take_address(io::identity_of_directory(*target).value());
    if (!address) return;
    if (::fork() == 0)
      become_helper(std::move(*address), *owner, places, segment, size, target_directory, options,
                    {most, prefetch.at_once}, patience);
  } catch (...) {
    // Recovery continues without it.
  }
}

namespace {

// ---- whose helper

/// Parent and start of a process, from /proc/<pid>/stat: its second field is a name in parentheses
/// that may contain any character.
struct Status {
  pid_t parent = 0;
  std::uint64_t started = 0;
};

std::optional<Status> status_of(pid_t pid) {
  std::string text;
  try {
    text = io::read_small_file(fmt::format("/proc/{}/stat", pid), 4096);
  } catch (const Error&) {
    return std::nullopt;
  }
  const auto behind_name = text.rfind(')');
  if (behind_name == std::string::npos) return std::nullopt;
  constexpr std::size_t kParent = 2, kStarted = 20;  // counted after the name, from 1
  Status status;
  std::size_t field = 0;
  for (std::size_t at = behind_name + 2; at < text.size(); ++field) {
    const auto end = std::min(text.find(' ', at), text.size());
    const auto number = [&](auto& value) {
      std::from_chars(text.data() + at, text.data() + end, value);
    };
    if (field + 1 == kParent) number(status.parent);
    if (field + 1 == kStarted) number(status.started);
    at = end + 1;
  }
  return status;
}

/// The server process that recovers: among our ancestors, the child of the postmaster, whose PID is
/// the first line of postmaster.pid in the data directory. There may be a shell between, which ends
/// with the command.
std::optional<Process> server_process(const std::string& target_directory, bool also_of_init) {
  constexpr int kMostAncestors = 16;
  const auto slash = target_directory.rfind('/');
  const auto data =
      slash == std::string::npos ? std::string(".") : target_directory.substr(0, slash);
  std::string text;
  try {
    text = io::read_front(data + "/postmaster.pid", 32);
  } catch (const Error&) {
    return std::nullopt;
  }
  pid_t postmaster = 0;
  std::from_chars(text.data(), text.data() + text.size(), postmaster);
  // As the first process of a container the server inherits every orphan, and treats a killed one
  // as a crashed backend of its own.
  if (postmaster < 1 || (postmaster == 1 && !also_of_init)) return std::nullopt;
  auto pid = ::getppid();
  for (int i = 0; i < kMostAncestors && pid > 1; ++i) {
    const auto status = status_of(pid);
    if (!status) break;
    if (status->parent == postmaster) return Process{pid, status->started};
    pid = status->parent;
  }
  return std::nullopt;
}

std::optional<Process> owner_of_recovery(const std::string& target_directory, bool without_server) {
  if (auto server = server_process(target_directory, without_server)) return server;
  if (!without_server) return std::nullopt;
  const auto parent = ::getppid();
  const auto status = status_of(parent);
  if (!status || parent == 1) return std::nullopt;
  return Process{parent, status->started};
}

/// Readable when the process has ended; empty if that cannot be watched, or has happened.
Descriptor watch(const Process& process) {
  Descriptor watched(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!watched) return Descriptor();
  const auto status = status_of(process.pid);
  if (!status || status->started != process.started) return Descriptor();
  return watched;
}

// ---- the helper

/// Into a file without a name.
class UnnamedOutput final : public Output {
 public:
  using Wanted = std::function<bool()>;
  UnnamedOutput(io::File& file, Wanted wanted) : file_(file), wanted_(std::move(wanted)) {}

  void expect(std::uint64_t bytes) override { io::reserve_if_possible(file_, bytes); }
  bool append(std::span<const std::byte> bytes) override {
    if (!wanted_()) return false;
    file_.write_at(size_, bytes);
    size_ += bytes.size();
    return true;
  }
  std::size_t read_at(std::uint64_t offset, std::span<std::byte> bytes) override {
    return file_.read_at(offset, bytes);
  }
  [[nodiscard]] std::uint64_t size() override { return size_; }

 private:
  io::File& file_;
  Wanted wanted_;
  std::uint64_t size_ = 0;
};

/// The first thread answers, the second syncs, the others fetch. The plan and the
/// stock are theirs together, under one mutex.
class Helper {
 public:
  Helper(net::Listener listener, Descriptor owner, const Places& places,
         std::unique_ptr<io::Directory> target, wal::SegmentName segment, wal::SegmentSize size,
         const Options& options, const Ahead& ahead, std::chrono::milliseconds patience)
      : listener_(std::move(listener)),
        owner_(std::move(owner)),
        ahead_(ahead),
        archives_(places, patience, log_, kNamesAhead),
        target_(std::move(target)),
        size_(size),
        options_(options),
        terms_(terms_of(places, archives_.shelves(), *target_, options)),
        plan_(ahead.most, size, ahead.at_once) {
    static_cast<void>(plan_.asked(segment));
  }

  void run();

 private:
  /// One fetched segment.
  struct Stock {
    Fetched fetched;
    std::shared_ptr<io::File> content;
  };
  struct Client {
    Descriptor channel;
    std::optional<wal::SegmentName> waits_for;
  };

  void fetch_all();
  std::optional<Stock> fetch(wal::SegmentName segment);
  void sync_all();
  void serve(Client& client);
  void answer(Client& client);
  void prune_stock();
  void end();

  net::Listener listener_;  ///< the answering thread's own
  const Descriptor owner_;
  const Ahead ahead_;
  NoLog log_;  ///< the process that restores an unfetched segment logs why
  const OpenArchives archives_;
  const std::unique_ptr<io::Directory> target_;
  const wal::SegmentSize size_;
  const Options options_;
  const Terms terms_;
  net::Wake woken_;
  std::atomic<std::uint64_t> progress_ = 0;

  std::mutex mutex_;
  std::condition_variable changed_;
  PrefetchPlan plan_;                        // all below: guarded by mutex_
  std::map<wal::SegmentName, Stock> stock_;  ///< of the segments that the plan has as available
  std::optional<Stock> newest_;              ///< fetched last, to compare the next one with
  bool ended_ = false;

  // The answering thread's own.
  std::vector<Client> clients_;
  Clock::time_point asked_ = Clock::now();
  std::uint64_t progress_told_ = 0;
};

void Helper::run() {
  listener_.listen();
  std::vector<std::thread> fetching;
  for (std::size_t i = 0; i < ahead_.at_once; ++i) fetching.emplace_back([this] { fetch_all(); });
  std::thread syncing([this] { sync_all(); });
  for (;;) {
    std::vector<pollfd> wanted{
        {owner_.get(), POLLIN, 0}, {listener_.fd(), POLLIN, 0}, {woken_.fd(), POLLIN, 0}};
    for (const auto& client : clients_)
      wanted.push_back({client.channel.get(), client.waits_for ? short{0} : short{POLLIN}, 0});
    if (clients_.size() >= kMostClients) wanted[1].events = 0;
    ::poll(wanted.data(), wanted.size(), static_cast<int>(kSignOfLife / 1ms));

    woken_.clear();
    const auto now = Clock::now();
    {
      const std::lock_guard lock(mutex_);
      const auto idle = plan_.empty_handed() ? kIdleEmptyHanded : kIdle;
      if (wanted[0].revents != 0 || ended_ || (clients_.empty() && now - asked_ > idle)) break;
    }
    for (std::size_t i = 0; i < clients_.size(); ++i) {
      const auto events = wanted[i + 3].revents;
      if (clients_[i].waits_for && (events & (POLLHUP | POLLERR)) != 0)
        clients_[i].channel.close();  // killed by its server
      else if (!clients_[i].waits_for && events != 0)
        serve(clients_[i]);
    }
    if (wanted[1].revents != 0)
      if (auto channel = accept_question(listener_)) {
        clients_.push_back({std::move(channel), std::nullopt});
        // The request arrived before this thread woke up.
        if (has_message(clients_.back().channel)) serve(clients_.back());
      }
    const bool progress = progress_ != progress_told_;
    progress_told_ = progress_;
    for (auto& client : clients_) {
      if (!client.channel || !client.waits_for) continue;
      answer(client);
      if (client.channel && progress) reply_working(client.channel);
    }
    std::erase_if(clients_, [](const Client& client) { return !client.channel; });
  }
  end();
  for (auto& thread : fetching) thread.join();
  syncing.join();
}

/// Reads the client's question.
void Helper::serve(Client& client) {
  const auto question = read_question(client.channel);
  if (!question) {
    client.channel.close();
    return;
  }
  asked_ = Clock::now();
  if (!question->understood || question->terms != terms_ || !question->segment) {
    // The settings have changed, or the program: the client starts a matching helper, for which the
    // address must be free when it sees this one exit.
    listener_.close();
    client.channel.close();
    end();
    return;
  }
  client.waits_for = question->segment;
}

/// Answers a client that waits, if there is an answer by now.
void Helper::answer(Client& client) {
  const auto segment = *client.waits_for;
  const std::lock_guard lock(mutex_);
  const auto answer = plan_.asked(segment);
  if (answer == PrefetchPlan::Answer::here) {
    const auto found = stock_.find(segment);
    PGWEIR_CHECK(found != stock_.end());
    reply_here(client.channel, found->second.fetched, *found->second.content);
    plan_.handed_over(segment);
  }
  if (answer == PrefetchPlan::Answer::miss) reply_miss(client.channel);
  if (answer != PrefetchPlan::Answer::wait) client.channel.close();
  prune_stock();
  changed_.notify_all();
}

/// Under the mutex.
void Helper::prune_stock() {
  std::erase_if(stock_, [&](const auto& each) { return !plan_.wanted(each.first); });
}

void Helper::fetch_all() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    const auto segment = plan_.begin_fetch();
    if (!segment) {
      changed_.wait(lock);
      continue;
    }
    lock.unlock();
    auto stock = fetch(*segment);
    lock.lock();
    if (stock && plan_.wanted(*segment)) {
      newest_ = stock;
      stock_.insert_or_assign(*segment, std::move(*stock));
      plan_.fetched(*segment);
    } else {
      plan_.failed(*segment);
    }
    prune_stock();
    changed_.notify_all();
    woken_.raise();
  }
}

/// nullopt if it is missing, not valid, or not needed any more.
std::optional<Helper::Stock> Helper::fetch(wal::SegmentName segment) {
  try {
    auto* const unnamed_files = target_->unnamed_files();
    std::shared_ptr<io::File> file = unnamed_files ? unnamed_files->create_unnamed() : nullptr;
    if (!file || target_->free_bytes() < size_.bytes() * (kSegmentsToLeave + ahead_.at_once)) {
      end();
      return std::nullopt;
    }
    UnnamedOutput output(*file, [&] {
      ++progress_;
      const std::lock_guard lock(mutex_);
      return !ended_ && plan_.wanted(segment);
    });
    // It may have been stored since the last look-up.
    auto* const stored = archives_.stored();
    if (stored != nullptr) stored->expect(segment);
    auto fetched = fetch_segment(archives_.shelves(), segment, output, options_);
    if (stored != nullptr) stored->release(segment);
    if (!fetched && stored != nullptr) stored->forget_absences();
    if (!fetched || fetched->size != size_) return std::nullopt;
    std::optional<Stock> before;
    {
      const std::lock_guard lock(mutex_);
      before = newest_;
    }
    const auto start = segment.start(size_);
    if (before && before->fetched.source.segment.timeline() == segment.timeline() &&
        before->fetched.source.segment.start(size_) + size_.bytes() == start &&
        !compare_with_before(archives_.shelves(), *fetched, *file, before->fetched,
                             *before->content))
      return std::nullopt;
    return Stock{*fetched, std::move(file)};
  } catch (const Error& error) {
    if (auto* const stored = archives_.stored()) stored->release(segment);
    // No space for segments not requested yet: free it at once.
    if (error.kind() == ErrorKind::disk_full) end();
    return std::nullopt;
  }
}

/// Leaves nothing to do for the server's own fsync of the file. Never during the delivery of the
/// file, and never after it: the kernel reports an error once, and the server must receive it.
void Helper::sync_all() {
  std::unique_lock lock(mutex_);
  while (!ended_) {
    const auto segment = plan_.begin_sync();
    if (!segment) {
      changed_.wait(lock);
      continue;
    }
    const auto content = stock_.at(*segment).content;
    lock.unlock();
    bool synced = true;
    try {
      content->sync();
      ++progress_;
    } catch (const Error&) {
      synced = false;
    }
    lock.lock();
    if (synced)
      plan_.synced(*segment);
    else
      plan_.failed(*segment);
    if (!synced) stock_.erase(*segment);
    prune_stock();
    changed_.notify_all();
    woken_.raise();
  }
}

void Helper::end() {
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
  }
  changed_.notify_all();
  woken_.raise();
}

/// In the child: releases everything that belongs to the server, then works until there is no
/// reason to. Always exits with 0: the process that inherits the orphan has nothing to handle.
void become_helper(net::Listener address, const Process& owner, const Places& places,
                   wal::SegmentName segment, wal::SegmentSize size,
                   const std::string& target_directory, const Options& options, const Ahead& ahead,
                   std::chrono::milliseconds patience) {
  try {
    // Its own session: what a terminal or the server sends to a group is not for us, and the
    // server's log pipe ends when the server's processes have closed it.
    ::setsid();
    ::prctl(PR_SET_NAME, "pgweir-prefetch");
    const int null = ::open("/dev/null", O_RDWR);  // check-includes: no archive data
    constexpr int kFirstOwn = 3;
    const int socket = ::fcntl(address.fd(), F_DUPFD_CLOEXEC, kFirstOwn);
    for (int fd = 0; fd < kFirstOwn; ++fd) ::dup2(null, fd);
    if (socket < 0 || null < 0) ::_exit(0);
    if (socket > kFirstOwn)
      ::syscall(SYS_close_range, kFirstOwn, static_cast<unsigned>(socket) - 1, 0);
    ::syscall(SYS_close_range, static_cast<unsigned>(socket) + 1, ~0U, 0);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(signal, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);

    auto watched = watch(owner);
    if (!watched) ::_exit(0);
    auto to = io::open_directory(target_directory);
    Helper helper(net::Listener{Descriptor(socket)}, std::move(watched), places, std::move(to),
                  segment, size, options, ahead, patience);
    // The directories are open, or known by their whole paths: the server's own must not be kept in
    // use.
    if (::chdir("/") != 0) ::_exit(0);
    helper.run();
  } catch (...) {
  }
  ::_exit(0);
}

}  // namespace

}  // namespace weir::restore
