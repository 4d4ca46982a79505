# Completion for pgweir in bash. Commands and options are asked of the program itself
# ("pgweir --help", "pgweir help COMMAND all"), so there is no second list to fall behind.

_pgweir() {
  local program=$1 current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command= action= index word skip= help
  COMPREPLY=()

  # The command is the first word that is neither an option nor the file of -c in front of it.
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ -n $skip ]]; then
      skip=
    elif [[ $word == -c || $word == --config ]]; then
      skip=yes
    elif [[ $word != -* ]]; then
      if [[ -z $command ]]; then command=$word; elif [[ -z $action ]]; then action=$word; fi
      [[ $command == "$action" || -n $action ]] && break
    fi
  done

  # bash splits "--option=value" at the sign.
  if [[ $current == = ]]; then current=; fi
  if [[ $previous == = ]] && ((COMP_CWORD > 1)); then previous=${COMP_WORDS[COMP_CWORD - 2]}; fi

  if [[ -z $command && $previous != -c && $previous != --config ]]; then
    help=$("$program" --help 2>/dev/null) || return
    if [[ $current == -* ]]; then
      mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_options <<<"$help")" -- "$current")
    else
      mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_words Commands <<<"$help")" -- "$current")
    fi
    return
  fi
  if [[ $command == help && -n $action ]]; then  # its topics, which its help lists
    help=$("$program" help "$action" 2>/dev/null) || return
    mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_words 'More options' <<<"$help")" -- "$current")
    return
  fi
  if [[ $command == help ]]; then
    help=$("$program" --help 2>/dev/null) || return
    mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_words Commands <<<"$help")" -- "$current")
    return
  fi

  help=$("$program" help ${command:+"$command" all} 2>/dev/null) || return
  case $(_pgweir_value "$previous" <<<"$help") in
    DIR | DIRECTORY) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$current") ;;
    FILE | PATH | TARGET | SOCKET)
      compopt -o filenames
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      ;;
    HOST) mapfile -t COMPREPLY < <(compgen -A hostname -- "$current") ;;
    '')
      if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_options <<<"$help")" -- "$current")
      elif [[ -z $action ]]; then
        word=$(_pgweir_actions "$command" <<<"$help")
        if [[ -n $word ]]; then
          mapfile -t COMPREPLY < <(compgen -W "$word" -- "$current")
        else
          compopt -o filenames
          mapfile -t COMPREPLY < <(compgen -f -- "$current")
        fi
      else
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
      fi
      ;;
    *)
      # Words to choose from, where the help lists them.
      mapfile -t COMPREPLY < <(compgen -W "$(_pgweir_choices "$previous" <<<"$help")" -- "$current")
      ;;
  esac
}

# The options a help text explains: "  -D, --directory DIR   ..." and "      --start LSN  ...".
_pgweir_options() {
  sed -nE 'h; s/^ {2,6}(-[^-], )?(--[a-z][a-z-]*).*/\2/p; g; s/^ {2,6}(-[^-]), --.*/\1/p'
}

# The words that begin the lines of a section: _pgweir_words Commands
_pgweir_words() {
  sed -nE "/^$1:/,/^\$/s/^ {2}([a-z_]+) .*/\1/p"
}

# What follows a command that has actions, such as "pgweir slot create": the usage lines name them.
_pgweir_actions() {
  sed -nE "/^Usage:/,/^\$/s/^ {2}pgweir $1 ([a-z]+)( .*|\$)/\1/p" | sort -u
}

# The name of an option's value in the help text; nothing if it takes none.
_pgweir_value() {
  local option=$1
  [[ $option == -* ]] || return 0
  if [[ $option == --* ]]; then
    sed -nE "s/^ {2,6}(-[^-], )?$option[ =]([A-Z][A-Z|]*).*/\2/p"
  else
    sed -nE "s/^ {2,6}$option, --[a-z-]+[ =]([A-Z][A-Z|]*).*/\1/p"
  fi
}

# The values that an option's own lines explain as choices: words before " (default)", commas,
# "or" and colons.
_pgweir_choices() {
  local option=$1
  local words
  case $option in
    --prefer) words='any|primary|standby' ;;
    --slot-hosts) words='all|current' ;;
    --on-gap) words='stop|continue|absent' ;;
    --on-uncompared) words='stop|continue' ;;
    --on-disk-full) words='wait|stop' ;;
    --apply-position) words='flush|none' ;;
    --flush) words='continuous|segment' ;;
    --confirm) words='local|stored' ;;
    --compress | -Z | --store-compression) words='none|zstd|gzip|lz4' ;;
    --store-layout) words='barman|wal-g' ;;
    --store-path-style) words='auto|path|host' ;;
    --log-level) words='debug|info|warning|error' ;;
    --log-format) words='text|json' ;;
    --format) words='plain|tar|jsonl|plugin' ;;
    --action) words='promote|pause|shutdown' ;;
    --incremental) words='auto|off' ;;
    *) return ;;
  esac
  awk -v option="$option" '
    /^  -., --/ || /^      --/ {  # where an option is explained; others only name it
      split($0 " ", names, /^ +|, | |=|\[/)
      inside = names[2] == option || names[3] == option
    }
    /^[^ ]|^$/ { inside = 0 }
    inside' | sed -E '1s/^ {2,6}(-[^-], )?--[a-z-]+[ =][A-Z|]+ *//' | tr '\n' ' ' |
    grep -oE "(^|[ ,:])($words)\\b" |
    tr -d ' ,:' | sort -u
}

complete -F _pgweir pgweir
