#include "daemon/logger.h"

#include <fcntl.h>  // check-includes: no archive data
#include <fmt/format.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <ctime>
#include <deque>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "base/journal.h"
#include "base/units.h"
#include "base/visible.h"

namespace weir::daemon {

namespace {

constexpr std::size_t kQueue = 256;

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return spdlog::level::debug;
    case LogLevel::info:
      return spdlog::level::info;
    case LogLevel::warning:
      return spdlog::level::warn;
    case LogLevel::error:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

LogLevel level_of(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return LogLevel::debug;
  if (level == spdlog::level::info) return LogLevel::info;
  if (level == spdlog::level::warn) return LogLevel::warning;
  return LogLevel::error;
}

class LevelName final : public spdlog::custom_flag_formatter {
 public:
  explicit LevelName(bool colour) : colour_(colour) {}

  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& line) override {
    std::string_view name = "DEBUG";
    std::string_view colour;
    if (message.level == spdlog::level::info) name = "INFO ";
    if (message.level == spdlog::level::warn) name = "WARN ", colour = "\x1b[33m";
    if (message.level == spdlog::level::err) name = "ERROR", colour = "\x1b[31m";
    if (!colour_) colour = {};
    line.append(colour);
    line.append(name);
    if (!colour.empty()) line.append(std::string_view("\x1b[0m"));
  }

  std::unique_ptr<spdlog::custom_flag_formatter> clone() const override {
    return std::make_unique<LevelName>(colour_);
  }

 private:
  bool colour_;
};

std::unique_ptr<spdlog::formatter> make_formatter(bool colour, bool journal) {
  auto formatter =
      std::make_unique<spdlog::pattern_formatter>(spdlog::pattern_time_type::utc, "\n");
  formatter->add_flag<LevelName>('*', colour)
      .set_pattern(journal ? "%* %v" : "%Y-%m-%d %H:%M:%S.%e UTC %* %v");
  return formatter;
}

/// "pg_receivewal: error: text", without the time.
class ClientFormatter final : public spdlog::formatter {
 public:
  explicit ClientFormatter(std::string program) : program_(std::move(program)) {}

  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    const std::string_view text(message.payload.data(), message.payload.size());
    std::string_view label;
    if (message.level == spdlog::level::debug) label = "debug: ";
    if (message.level == spdlog::level::warn) label = "warning: ";
    if (message.level == spdlog::level::err) label = "error: ";
    if (text.starts_with("hint: ")) label = {};  // has no label
    fmt::format_to(std::back_inserter(line), "{}: {}{}\n", program_, label, text);
  }

  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<ClientFormatter>(program_);
  }

 private:
  const std::string program_;
};

std::string_view level_name(LogLevel level) {
  switch (level) {
    case LogLevel::debug:
      return "debug";
    case LogLevel::info:
      return "info";
    case LogLevel::warning:
      return "warning";
    case LogLevel::error:
      return "error";
  }
  return "error";
}

/// The fields after the time, without the braces.
std::string json_fields(LogLevel level, std::string_view message, const Error* error = nullptr) {
  while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
  nlohmann::ordered_json json = {
      {"level", level_name(level)}, {"pid", ::getpid()}, {"message", message}};
  if (error != nullptr) {
    json["error"] = to_string(error->kind());
    if (!error->context().empty()) json["context"] = error->context();
    if (!error->hint().empty()) json["hint"] = error->hint();
  }
  // A server's text may be in any encoding.
  const auto text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.substr(1, text.size() - 2);
}

std::string json_line(std::chrono::system_clock::time_point time, std::string_view fields) {
  return fmt::format(R"({{"time":"{}",{}}})"
                     "\n",
                     format_iso_time(time), fields);
}

class JsonFormatter final : public spdlog::formatter {
 public:
  void format(const spdlog::details::log_msg& message, spdlog::memory_buf_t& line) override {
    line.append(json_line(message.time, {message.payload.data(), message.payload.size()}));
  }
  std::unique_ptr<spdlog::formatter> clone() const override {
    return std::make_unique<JsonFormatter>();
  }
};

class LogFile {
 public:
  explicit LogFile(std::string path) : path_(std::move(path)), fd_(open()) {}
  ~LogFile() { ::close(fd_); }
  LogFile(const LogFile&) = delete;
  LogFile& operator=(const LogFile&) = delete;

  void reopen() { ::close(std::exchange(fd_, open())); }

  void write(std::string_view text) {
    while (!text.empty()) {
      const auto count = ::write(fd_, text.data(), text.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw system_error(errno, "could not write the log file").with("path", path_);
      text.remove_prefix(static_cast<std::size_t>(count));
    }
  }

 private:
  [[nodiscard]] int open() const {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY;
    const int fd = ::open(path_.c_str(), kFlags, 0640);  // check-includes: no archive data
    if (fd < 0) throw system_error(errno, "could not open the log file").with("path", path_);
    return fd;
  }

  const std::string path_;
  int fd_;
};

/// Called by the logger's thread alone.
class Sink final : public spdlog::sinks::sink {
 public:
  Sink(Screen& screen, LogFile* file, std::unique_ptr<spdlog::formatter> formatter)
      : screen_(screen), file_(file), formatter_(std::move(formatter)) {}

  void log(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    const std::string_view text(line.data(), line.size());
    if (file_ == nullptr) {
      show(level_of(message.level), text);
      return;
    }
    try {
      file_->write(text);
      file_failed_ = false;
    } catch (const Error& error) {
      // Reported once, and the messages are written to the screen instead.
      if (!std::exchange(file_failed_, true))
        show(LogLevel::warning,
             visible(fmt::format("pgweir: warning: {}; the log continues here\n", error.what())));
      show(level_of(message.level), text);
    }
  }

  void reopen() {
    try {
      file_->reopen();
    } catch (const Error& error) {
      show(LogLevel::error,
           visible(fmt::format("pgweir: error: {}; the log continues in the old file\n",
                               error.what())));
    }
  }

  void flush() override {
    const std::lock_guard lock(mutex_);
    ++flushes_;
    flushed_.notify_all();
  }

  std::uint64_t flushes() {
    const std::lock_guard lock(mutex_);
    return flushes_;
  }
  bool wait_for_flush(std::uint64_t count, std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return flushed_.wait_for(lock, time, [&] { return flushes_ >= count; });
  }

  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  void show(LogLevel level, std::string_view lines) {
    if (screen_.journal())
      screen_.write(with_priority(level, lines));
    else
      screen_.write(lines);
  }

  Screen& screen_;
  LogFile* file_;
  std::unique_ptr<spdlog::formatter> formatter_;
  bool file_failed_ = false;
  std::mutex mutex_;
  std::condition_variable flushed_;
  std::uint64_t flushes_ = 0;
};

/// Messages on their way to the sink, and the thread that passes them on. Logging never blocks: if
/// there are too many messages the oldest are dropped. (spdlog's own queue wakes up every ten
/// seconds, which would dominate an idle receiver.)
class Queue {
 public:
  explicit Queue(Sink& sink) : sink_(sink), thread_([this] { work(); }) {}
  /// Takes what is waiting to the sink first.
  ~Queue() {
    {
      const std::lock_guard lock(mutex_);
      end_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  void add(spdlog::level::level_enum level, std::string text) {
    {
      const std::lock_guard lock(mutex_);
      if (messages_.size() == kQueue) messages_.pop_front();
      messages_.push_back({spdlog::log_clock::now(), level, std::move(text)});
    }
    changed_.notify_one();
  }
  /// After the messages that wait now.
  void reopen() {
    {
      const std::lock_guard lock(mutex_);
      reopen_ = true;
    }
    changed_.notify_one();
  }
  /// Sink::flush() is called once all messages that wait now are through, and the file is reopened.
  void flush() {
    {
      const std::lock_guard lock(mutex_);
      ++flushes_;
    }
    changed_.notify_one();
  }

 private:
  struct Message {
    spdlog::log_clock::time_point time;
    spdlog::level::level_enum level;
    std::string text;
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return end_ || !messages_.empty() || reopen_ || flushes_ > 0; });
      if (!messages_.empty()) {
        const auto message = std::move(messages_.front());
        messages_.pop_front();
        lock.unlock();
        write(message);
        lock.lock();
      } else if (std::exchange(reopen_, false)) {
        lock.unlock();
        sink_.reopen();
        lock.lock();
      } else if (flushes_ > 0) {
        --flushes_;
        lock.unlock();
        sink_.flush();
        lock.lock();
      } else {
        return;
      }
    }
  }

  void write(const Message& message) {
    try {
      sink_.log(spdlog::details::log_msg(message.time, spdlog::source_loc{}, "pgweir",
                                         message.level, message.text));
    } catch (const std::exception&) {
      // No memory to format it: the message is dropped, and the receiver continues.
    }
  }

  Sink& sink_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Message> messages_;
  std::size_t flushes_ = 0;
  bool reopen_ = false;
  bool end_ = false;
  std::thread thread_;
};

}  // namespace

class Logger::Impl {
 public:
  Impl(Screen& on_screen, LogLevel at_level, std::optional<std::string> path,
       const std::string& for_program, LogFormat with_format)
      : screen(on_screen),
        level(at_level),
        program(for_program),
        format(with_format),
        file(path ? std::make_unique<LogFile>(std::move(*path)) : nullptr),
        sink(std::make_shared<Sink>(screen, file.get(), formatter())),
        queue(std::make_unique<Queue>(*sink)) {}

  std::unique_ptr<spdlog::formatter> formatter() const {
    if (format == LogFormat::json) return std::make_unique<JsonFormatter>();
    if (!program.empty()) return std::make_unique<ClientFormatter>(program);
    return make_formatter(!file && screen.colour(), !file && screen.journal());
  }

  void write_now(LogLevel at, const std::string& lines) const {
    screen.write_now(screen.journal() ? with_priority(at, lines) : lines);
  }

  Screen& screen;
  std::atomic<LogLevel> level;
  const std::string program;
  const LogFormat format;
  std::unique_ptr<LogFile> file;
  std::shared_ptr<Sink> sink;
  std::unique_ptr<Queue> queue;
  std::mutex drain_mutex;  ///< counting flushes is for one at a time
};

Logger::Logger(Screen& screen, LogLevel level, std::optional<std::string> file, std::string program,
               LogFormat format)
    : impl_(std::make_unique<Impl>(screen, level, std::move(file), program, format)) {}

Logger::~Logger() {
  // A thread stuck in a write cannot be waited for: better a leak at the end than a hang.
  if (impl_ && !close(std::chrono::seconds(2))) static_cast<void>(impl_.release());
}

void Logger::write(LogLevel level, std::string_view message) {
  if (!enabled(level) || !impl_->queue) return;
  impl_->queue->add(level_of(level), impl_->format == LogFormat::json ? json_fields(level, message)
                                                                      : one_message(message));
}

void Logger::write_error(const Error& error) {
  if (!impl_->program.empty() && !error.stock_text().empty())
    return Log::write_error(Error(error.kind(), error.stock_text()).hint(error.hint()));
  if (impl_->format != LogFormat::json) return Log::write_error(error);
  if (enabled(LogLevel::error) && impl_->queue)
    impl_->queue->add(spdlog::level::err, json_fields(LogLevel::error, error.message(), &error));
}

bool Logger::enabled(LogLevel level) const { return level >= impl_->level; }

void Logger::set_level(LogLevel level) { impl_->level = level; }

void Logger::reopen() {
  if (!impl_->file || !impl_->queue) return;
  // The caller handles SIGTERM next: a file that cannot be opened for now must not delay it.
  constexpr std::chrono::seconds kForTheFile(1);
  impl_->queue->reopen();
  static_cast<void>(drain(kForTheFile));
}

bool Logger::drain(std::chrono::milliseconds time) {
  const std::lock_guard lock(impl_->drain_mutex);
  const auto before = impl_->sink->flushes();
  impl_->queue->flush();
  return impl_->sink->wait_for_flush(before + 1, time);
}

bool Logger::close(std::chrono::milliseconds time) {
  if (!impl_->queue) return true;
  impl_->screen.give_up(time);
  // Slightly longer, for a write that gives up at the last moment.
  if (!drain(time + std::chrono::milliseconds(300))) return false;
  impl_->queue.reset();  // joins
  return true;
}

void Logger::last_words(const Error& error, std::chrono::milliseconds time) {
  Log::error(error);
  const bool drained = drain(time);
  if (drained && !impl_->file) return;
  if (impl_->format == LogFormat::json) {
    impl_->write_now(LogLevel::error,
                     json_line(std::chrono::system_clock::now(),
                               json_fields(LogLevel::error, error.message(), &error)));
    return;
  }
  const std::string name = impl_->program.empty() ? "pgweir" : impl_->program;
  impl_->write_now(LogLevel::error,
                   visible(fmt::format("{}: error: {}\n{}", name, error.what(),
                                       error.hint().empty()
                                           ? std::string()
                                           : fmt::format("{}: hint: {}\n", name, error.hint()))));
}

std::string one_message(std::string_view message) {
  while (!message.empty() && (message.back() == '\n' || message.back() == '\r'))
    message.remove_suffix(1);
  std::string line;
  line.reserve(message.size());
  for (const char c : visible(message)) {
    if (c == '\n')
      line += "\n    ";
    else if (c == '\t')
      line += ' ';
    else
      line += c;
  }
  return line;
}

}  // namespace weir::daemon
