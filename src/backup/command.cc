#include "backup/command.h"

#include "base/error.h"
#include "wal/server_version.h"

namespace weir::backup {

namespace {

/// As pg_basebackup's -T wants it.
std::string escaped(const std::string& path) {
  std::string text;
  for (const char c : path) text += c == '=' ? "\\=" : std::string(1, c);
  return text;
}

std::string compression(const CopyPlan& plan) {
  if (wal::ServerVersion(plan.tool_major).has_named_compression()) return plan.compress;
  // A level of gzip, the only method it knows.
  const auto colon = plan.compress.find(':');
  if (plan.compress.substr(0, colon) != "gzip")
    throw Error(ErrorKind::retry, "this pg_basebackup supports gzip only")
        .with("its version", plan.tool_major)
        .hint("Specify a directory with newer programs with --bindir, or use --compress gzip.");
  return colon == std::string::npos ? "6" : plan.compress.substr(colon + 1);
}

}  // namespace

std::string conninfo_text(const pq::ConninfoValues& values) {
  std::string text;
  for (const auto& [keyword, value] : values) {
    text += (text.empty() ? "" : " ") + keyword + "='";
    for (const char c : value) {
      if (c == '\'' || c == '\\') text += '\\';
      text += c;
    }
    text += '\'';
  }
  return text;
}

io::Command basebackup_command(const std::string& program, const pq::ConninfoValues& values,
                               const CopyPlan& plan) {
  io::Command command{program,
                      "--pgdata=" + plan.into,
                      plan.format == Format::tar ? "--format=tar" : "--format=plain",
                      "--wal-method=none",
                      "--checkpoint=fast",
                      "--no-slot",
                      "--no-password",
                      "--no-sync",
                      "--progress",
                      "--manifest-checksums=CRC32C",
                      "--label=pgweir backup",
                      "--dbname=" + conninfo_text(values)};
  if (!plan.compress.empty()) command.push_back("--compress=" + compression(plan));
  if (!plan.rate.empty()) command.push_back("--max-rate=" + plan.rate);
  for (const auto& [from, to] : plan.tablespaces)
    command.push_back("--tablespace-mapping=" + escaped(from) + "=" + escaped(to));
  if (plan.base_manifest) command.push_back("--incremental=" + *plan.base_manifest);
  return command;
}

}  // namespace weir::backup
